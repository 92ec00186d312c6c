//! How each kind survives serde.
//!
//! A serializer gets what a value wraps, inside a newtype whose name our own writers recognise. Our JSON makes it one of Flask's tags, our
//! MessagePack an extension type:
//!
//! | number | kind | payload |
//! | --- | --- | --- |
//! | -1 | date | MessagePack's own timestamp |
//! | 1 | tuple | a MessagePack list |
//! | 2 | markup | UTF-8 |
//! | 3 | UUID | 16 bytes |
//! | 4 | text with a lone surrogate | UTF-16, big-endian |
//! | 5 | integer beyond 64 bits | decimal text |
//! | 6 | atom | UTF-8 |

pub(crate) const TUPLE: &str = "$dewar::tuple";
pub(crate) const MARKUP: &str = "$dewar::markup";
pub(crate) const UUID: &str = "$dewar::uuid";
pub(crate) const DATE_TIME: &str = "$dewar::datetime";
pub(crate) const BIG_INTEGER: &str = "$dewar::integer";
pub(crate) const SURROGATES: &str = "$dewar::surrogates";
pub(crate) const ATOM: &str = "$dewar::atom";
pub(crate) const VALUE: &str = "$dewar::value";

/// The extension type numbers.
pub(crate) mod number {
    pub(crate) const DATE_TIME: i8 = -1;
    pub(crate) const TUPLE: i8 = 1;
    pub(crate) const MARKUP: i8 = 2;
    pub(crate) const UUID: i8 = 3;
    pub(crate) const SURROGATES: i8 = 4;
    pub(crate) const BIG_INTEGER: i8 = 5;
    pub(crate) const ATOM: i8 = 6;
}
