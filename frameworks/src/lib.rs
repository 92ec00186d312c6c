//! One small application for each web framework. `docs/frameworks.md` shows these files as they are.

pub mod axum;
pub mod poem;
pub mod salvo;
