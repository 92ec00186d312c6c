//! Whose JSON it is.

use crate::encoding::{depth::DEPTH, error::WriteError};

/// A flavour of JSON: how text is escaped, numbers are printed, members are ordered, and whether Flask's tags are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json {
    pub(super) numbers: Numbers,
    pub(super) tags: bool,
    pub(super) sorted: bool,
    pub(super) escapes: Escapes,
}

/// Whose numbers: how they are printed, and whether integers and floats differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Python,
    JavaScript,
    Ruby,
    Php,
    Msgspec,
}

/// What is escaped beside quotes, backslashes and control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    Nothing,
    /// All beyond ASCII, and U+007F.
    NonAscii,
    /// What means something in a page or ends a line of a script: `<`, `>`, `&`, U+2028 and U+2029.
    Html,
    /// All beyond ASCII, and the slash.
    Slashes,
}

impl Json {
    /// What Flask puts into its session cookie: tags, sorted names, ASCII.
    pub const FLASK: Json = Json { numbers: Numbers::Python, tags: true, sorted: true, escapes: Escapes::NonAscii };
    /// Python's `json` without blanks, as Django writes sessions: ASCII.
    pub const PYTHON: Json = Json { numbers: Numbers::Python, tags: false, sorted: false, escapes: Escapes::NonAscii };
    /// Python's `json` with `ensure_ascii` off and no blanks.
    pub const PYTHON_UTF8: Json =
        Json { numbers: Numbers::Python, tags: false, sorted: false, escapes: Escapes::Nothing };
    /// What `JSON.stringify` writes.
    pub const JAVASCRIPT: Json =
        Json { numbers: Numbers::JavaScript, tags: false, sorted: false, escapes: Escapes::Nothing };
    /// What Rails writes: Ruby's numbers, and text that may stand in a page.
    pub const RAILS: Json = Json { numbers: Numbers::Ruby, tags: false, sorted: false, escapes: Escapes::Html };
    /// What PHP's `json_encode` writes: ASCII, slashes escaped, and a float without a fraction as an integer.
    pub const PHP: Json = Json { numbers: Numbers::Php, tags: false, sorted: false, escapes: Escapes::Slashes };

    /// What Python's msgspec writes, for Flask-Session: what JSON has no word for is the text or the list that it wraps, and bytes are base64.
    pub const MSGSPEC: Json = Json { numbers: Numbers::Msgspec, tags: false, sorted: false, escapes: Escapes::Nothing };

    /// Whether members are sorted by name, by code point, at every level.
    #[must_use]
    pub const fn sort_keys(self, sorted: bool) -> Json {
        Json { sorted, ..self }
    }

    /// Whether text beyond ASCII is escaped.
    #[must_use]
    pub const fn ascii(self, ascii: bool) -> Json {
        Json { escapes: if ascii { Escapes::NonAscii } else { Escapes::Nothing }, ..self }
    }

    pub(in crate::encoding) const fn has_tags(self) -> bool {
        self.tags
    }

    /// Whether a tuple is a list, a UUID and a date their texts, and bytes their base64.
    pub(super) const fn unwraps(self) -> bool {
        matches!(self.numbers, Numbers::Msgspec)
    }

    /// Whether text may hold half of a surrogate pair: the parsers of Ruby, PHP and msgspec refuse the whole session then.
    pub(super) const fn has_surrogates(self) -> bool {
        matches!(self.numbers, Numbers::Python | Numbers::JavaScript)
    }

    /// How deep an entry may nest.
    pub(super) fn deepest(self) -> usize {
        match self.numbers {
            // Ruby's parser stops at 100 levels, of which the session is one.
            Numbers::Ruby => 99,
            // The session around it takes one level, or two where it looks like a tag.
            Numbers::Python | Numbers::JavaScript | Numbers::Php | Numbers::Msgspec => DEPTH - 2,
        }
    }

    /// What is said where one nests deeper.
    pub(super) fn too_deep(self) -> WriteError {
        match self.numbers {
            Numbers::Ruby => WriteError::new("nested deeper than the 100 levels that Ruby's parser takes"),
            _ => WriteError::deep(),
        }
    }
}
