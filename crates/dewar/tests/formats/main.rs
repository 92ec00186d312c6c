//! The formats: what other frameworks wrote, and what their dialects keep.

#[path = "../support/mod.rs"]
mod support;

mod django;
mod django_session;
mod express;
mod express_vectors;
mod flask_session;
mod flask_vectors;
mod iron;
mod laravel;
mod phoenix;
mod php;
mod rails;
mod seams;
mod symfony;
mod values;
mod wire_json;
mod wire_msgpack;
mod wire_properties;
mod wire_vectors;
