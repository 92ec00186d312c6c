//! What a folder of templates need not have: pages that most applications have not, and what those pages are made of.

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use minijinja::TemplateSource;

const TEMPLATES: [(&str, &str); 4] = [
    ("questions.html", include_str!("../../templates/questions.html")),
    ("startOver.html", include_str!("../../templates/startOver.html")),
    ("404.html", include_str!("../../templates/404.html")),
    ("error.html", include_str!("../../templates/error.html")),
];

/// The template of this name, for a folder that has none.
pub(crate) fn template(name: &str) -> Option<TemplateSource> {
    TEMPLATES.iter().find(|(own, _)| *own == name).map(|(_, source)| TemplateSource::from(*source))
}

/// The files of these pages, for a folder `static` that has them not.
pub(crate) fn assets() -> Router {
    let file =
        |kind: &'static str, content: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], content) });
    Router::new()
        .route("/questions.css", file("text/css", include_str!("../../static/questions.css")))
        .route("/favicon.svg", file("image/svg+xml", include_str!("../../static/favicon.svg")))
}
