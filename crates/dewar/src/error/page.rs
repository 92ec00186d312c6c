//! What the developer of a program sees of its mistake: a page in the place of the sentence for visitors, in debug builds alone.

#[cfg(feature = "templates")]
mod excerpt;

use super::{Error, Kind};
#[cfg(feature = "templates")]
pub(crate) use excerpt::Excerpt;

/// The error as a page: which place, why, and what to do.
pub(super) fn of(error: &Error) -> String {
    let what = escape(&error.message);
    let why = error.cause().map_or_else(String::new, |why| paragraph(&escape(&why.to_string())));
    #[cfg(feature = "templates")]
    let lines = error.cause().and_then(|source| source.downcast_ref()).map_or_else(String::new, Excerpt::list);
    #[cfg(not(feature = "templates"))]
    let lines = "";
    let advice = match error.kind {
        #[cfg(feature = "templates")]
        Kind::Template => {
            paragraph("Mend it and load this page again: a debug build reads its templates anew for every page.")
        }
        Kind::Closed => {
            paragraph("The session was used when its response had gone, or when another request had ended it.")
        }
        _ => String::new(),
    };
    let visitors = escape(error.sentence().trim_end());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>500: {what}</title>\n<style>{STYLE}</style>\n<main>\n<p class=status>500 Internal Server Error</p>\n<h1>{what}</h1>\n{why}{lines}{advice}\
         <footer>This page is of the library dewar, and of debug builds alone. A release build (<code>cargo build --release</code>) tells a visitor \
         &ldquo;{visitors}&rdquo; and writes the reason to the log.</footer>\n</main>\n</html>\n"
    )
}

fn paragraph(text: &str) -> String {
    format!("<p class=why>{text}</p>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--mark:#c2410c;--wash:#f973161f}\
body{margin:0;font:1rem/1.55 system-ui,sans-serif}\
main{max-width:46rem;margin:0 auto;padding:clamp(1.5rem,6vw,4rem) 1.25rem}\
.status{margin:0;color:var(--mark);font-weight:600}\
h1{margin:.35rem 0 1rem;font-size:clamp(1.3rem,4.5vw,1.8rem);line-height:1.25;overflow-wrap:anywhere}\
.why{white-space:pre-wrap;overflow-wrap:anywhere}\
ol{margin:1.5rem 0;padding:.6rem 0 .6rem 3.5em;border:1px solid var(--line);border-radius:.5rem;overflow-x:auto;font-size:.9rem}\
li{padding:0 .75em}\
li::marker{color:#888}\
code{font-family:ui-monospace,monospace}\
li code{white-space:pre}\
.here{background:var(--wash);box-shadow:inset 3px 0 var(--mark)}\
footer{margin-top:2.5rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.875rem;opacity:.75}";
