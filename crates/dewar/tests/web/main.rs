//! Applications: what a handler, a page and a browser see.

#[path = "../support/mod.rs"]
mod support;

mod actix;
mod axum;
mod mistakes;
mod templates;
mod tower_http;
mod values_in_pages;
mod visitor;
