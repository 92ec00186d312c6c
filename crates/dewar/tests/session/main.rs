//! The dictionary: in a request, and outside of one.

#[path = "../support/mod.rs"]
mod support;

mod edit;
mod properties;
mod session;
mod values_come_back;
