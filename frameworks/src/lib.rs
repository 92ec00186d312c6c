//! One small application for each web framework, and an adapter by hand. `docs/frameworks.md` shows these files as they are.

pub mod actix;
pub mod axum;
pub mod by_hand;
pub mod poem;
pub mod salvo;
