//! One small application for each web framework.

pub mod axum;
pub mod poem;
pub mod salvo;
