//! Names of entries: a plain `&str`, or a [`Key<T>`] that knows the entry's type.

use std::{fmt, marker::PhantomData};

/// The name of an entry together with its type, so that no handler can mistake either.
///
/// ```
/// use dewar::Key;
///
/// const CART: Key<Vec<u32>> = Key::new("cart");
///
/// fn add(session: &dewar::Session, article: u32) {
///     let mut cart = session.get(CART).unwrap_or_default(); // a Vec<u32>, no annotation
///     cart.push(article);
///     session.insert(CART, cart);
/// }
/// ```
///
/// Another type does not compile:
///
/// ```compile_fail
/// const CART: dewar::Key<Vec<u32>> = dewar::Key::new("cart");
/// fn add(session: &dewar::Session) {
///     session.insert(CART, "a text");
/// }
/// ```
pub struct Key<T> {
    name: &'static str,
    entry: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key for the entry of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, entry: PhantomData }
    }

    /// The entry's name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.name)
    }
}

impl<T> AsRef<str> for Key<T> {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// What names an entry of type `T`: a [`Key<T>`], or a text where the type can be inferred.
pub trait Name<T>: sealed::Sealed {
    /// The entry's name.
    fn name(&self) -> &str;
}

impl<T> Name<T> for Key<T> {
    fn name(&self) -> &str {
        self.name
    }
}

impl<T> Name<T> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<T> Name<T> for &String {
    fn name(&self) -> &str {
        self
    }
}

impl<T> Name<T> for String {
    fn name(&self) -> &str {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for super::Key<T> {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for String {}
}
