//! One small application in each library: the same routes, the same session of 292 bytes.
//!
//! - `/untouched` never names the session;
//! - `/read` reads one text of it;
//! - `/write` reads a number and writes it back, one larger;
//! - `/login` comes without a cookie, begins a session and writes two entries;
//! - `/seed` writes the session that the others find.

use std::fmt;

use axum::{Router, routing::get};
use dewar::{SessionLayer, dialect::Flask, store::memory::MemoryStore};

mod axum_sessions;
mod jars;
mod nothing;
mod ours;
mod session;
mod towers;

pub use nothing::Nothing;
pub use session::session;

/// Who keeps the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Bare,
    Nothing,
    Sealed,
    Memory,
    Flask,
    FlaskCompressed,
    TowerSessions,
    PrivateJar,
    SignedJar,
}

impl Peer {
    pub const ALL: [Self; 9] = [
        Self::Bare,
        Self::Nothing,
        Self::Sealed,
        Self::Memory,
        Self::Flask,
        Self::FlaskCompressed,
        Self::TowerSessions,
        Self::PrivateJar,
        Self::SignedJar,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "axum, no layer",
            Self::Nothing => "a layer that does nothing",
            Self::Sealed => "dewar, sealed cookie",
            Self::Memory => "dewar, memory store",
            Self::Flask => "dewar, Flask's format",
            Self::FlaskCompressed => "dewar, Flask's format compressed",
            Self::TowerSessions => "tower-sessions, memory store",
            Self::PrivateJar => "private cookie jar + JSON",
            Self::SignedJar => "signed cookie jar + JSON",
        }
    }

    pub fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.to_string() == name)
    }

    /// Whether its cookie holds an id and a store the data.
    pub fn has_store(self) -> bool {
        matches!(self, Self::Memory | Self::TowerSessions)
    }

    pub fn app(self) -> Router {
        let flask = |compression| layer().dialect(move |keyring| Flask::new(keyring).compression(compression));
        match self {
            Self::Bare => bare(),
            Self::Nothing => bare().layer(Nothing),
            Self::Sealed => ours::app(layer()),
            Self::Memory => ours::app(layer().store(MemoryStore::new())),
            Self::Flask => ours::app(flask(false)),
            Self::FlaskCompressed => ours::app(flask(true)),
            Self::TowerSessions => towers::memory(),
            Self::PrivateJar => jars::private(),
            Self::SignedJar => jars::signed(),
        }
    }
}

/// For arguments: `tower-sessions`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Nothing => "nothing",
            Self::Sealed => "sealed",
            Self::Memory => "memory",
            Self::Flask => "flask",
            Self::FlaskCompressed => "flask-compressed",
            Self::TowerSessions => "tower-sessions",
            Self::PrivateJar => "private-jar",
            Self::SignedJar => "signed-jar",
        })
    }
}

fn layer() -> SessionLayer {
    SessionLayer::new(dewar::Secret::generate()).expect("a generated secret is accepted")
}

/// A dewar application with these settings: for stores that a benchmark opens itself.
pub fn dewar(set: impl FnOnce(SessionLayer) -> SessionLayer) -> Router {
    ours::app(set(layer()))
}

/// axum_session keeps its sessions with a task that sweeps them, so it is begun inside a runtime.
pub async fn axum_session() -> Router {
    axum_sessions::memory().await
}

fn bare() -> Router {
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route("/read", get(async || "Ada".to_owned()))
        .route("/write", get(async || 42_u32.to_string()))
        .route("/login", get(async || "Hello"))
        .route("/seed", get(async || "Hello"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_session_has_292_bytes() {
        assert_eq!(serde_json::to_string(&super::session()).unwrap().len(), 292);
    }
}
