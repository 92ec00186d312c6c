//! The lines of a template around the one that failed.

use std::fmt;

use super::escape;

/// How many lines are shown before and after it.
const AROUND: usize = 4;

/// Why a template failed, and the lines around the place.
#[derive(Debug)]
pub(crate) struct Excerpt {
    why: String,
    line: usize,
    /// With their numbers.
    lines: Vec<(usize, String)>,
}

impl Excerpt {
    pub(crate) fn new(why: String, source: &str, line: usize) -> Self {
        let lines = (1..).zip(source.lines().map(str::to_owned));
        let lines = lines.skip(line.saturating_sub(AROUND + 1)).take(2 * AROUND + 1).collect();
        Self { why, line, lines }
    }

    /// The lines as a list in HTML; nothing where there are none.
    pub(super) fn list(&self) -> String {
        let line = |(number, line): &(usize, String)| {
            let class = if *number == self.line { " class=here" } else { "" };
            format!("<li value={number}{class}><code>{}</code>\n", escape(line))
        };
        let lines: String = self.lines.iter().map(line).collect();
        if lines.is_empty() { lines } else { format!("<ol>\n{lines}</ol>\n") }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Excerpt {}
