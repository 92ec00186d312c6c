//! What did not work, and what to do about it.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{address::Wait, tls};
use crate::store::StoreError;

const LACKS_A_RIGHT: &str = "the user lacks a right: the documentation of dewar::store::redis lists what a user needs";

#[derive(Clone)]
pub(super) enum Failure {
    /// Of the server, or of the way to it.
    Server(RedisError),
    /// It was written on the primary.
    Unconfirmed { confirmed: i64, wait: Wait },
    /// Of a write that is to be confirmed: nobody knows whether it was done.
    Lost(RedisError),
    /// What answered is not the primary any more.
    Former { at: String },
    /// No sentinel said where the primary is.
    NoSentinel(RedisError),
    /// No sentinel watches a service of this name.
    UnknownService(String),
    /// The primary that the sentinels name cannot be had.
    NoPrimary { at: String, error: RedisError },
    /// The sentinels name a server that is a replica.
    NotPrimary { at: String },
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Server(error)
    }
}

impl Failure {
    /// Whether the server says that it does not serve this now: it became a replica, lost its own primary, or is still loading. Nothing was done.
    pub(super) fn is_out_of_service(&self) -> bool {
        use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
        matches!(self, Self::Server(error) if matches!(error.kind(), ErrorKind::Server(ReadOnly | BusyLoading | MasterDown)))
    }

    /// Whether the connection was refused once it stood: the password, the user or the database is wrong. It stays refused until another is made.
    pub(super) fn is_refused(&self) -> bool {
        let Self::Server(error) = self else { return false };
        error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
            || error.to_string().contains("refused to switch database")
    }

    pub(super) fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Server(error) | Self::Lost(error) if error.is_io_error())
    }

    /// Whether nobody knows what became of it.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Former { .. }) || self.is_of_the_connection()
    }

    pub(super) fn is_connection_refusal(&self) -> bool {
        matches!(self, Self::Server(error) if error.is_connection_refusal())
    }

    /// Whether a moment later another server may be in service.
    pub(super) fn passes_by(&self) -> bool {
        match self {
            Self::Server(_)
            | Self::Unconfirmed { .. }
            | Self::Lost(_)
            | Self::Former { .. }
            | Self::UnknownService(_) => false,
            Self::NotPrimary { .. } => true,
            Self::NoSentinel(error) | Self::NoPrimary { error, .. } => {
                let is_loading = matches!(error.kind(), ErrorKind::Server(ServerErrorKind::BusyLoading));
                is_loading || error.is_io_error() && tls::advice(error).is_none()
            }
        }
    }

    pub(super) fn of(self, what: &str) -> StoreError {
        match self {
            Self::Unconfirmed { confirmed, wait } => StoreError::new(format!(
                "redis: {what}: the write stands on the primary only, and is lost where that fails now: {confirmed} of {} replicas confirmed it within {:?}",
                wait.replicas, wait.limit
            ))
            .for_good(),
            Self::Lost(error) => {
                let message = format!("redis: cannot {what}: nobody knows whether the replicas have it");
                StoreError::new(message).because(error).for_good()
            }
            other => other.within(format!("redis: cannot {what}")),
        }
    }

    /// What was in the way when the time was over.
    pub(super) fn late(last: Option<Self>, what: &str, limit: Duration) -> StoreError {
        let message = format!("redis: cannot {what}: no answer within {limit:?}");
        match last {
            Some(failure) => failure.within(message),
            None => StoreError::new(message),
        }
    }

    fn within(self, message: String) -> StoreError {
        let (why, error) = match self {
            Self::Server(error) => (advice(&error).map(str::to_owned), Some(error)),
            Self::NoSentinel(error) => (Some(sentinel_advice(&error).to_owned()), Some(error)),
            Self::NoPrimary { at, error } => {
                let what = advice(&error).unwrap_or("it does not answer");
                (Some(format!("the sentinels name {at} as the primary; {what}")), Some(error))
            }
            Self::NotPrimary { at } => {
                (Some(format!("the sentinels name {at} as the primary, and that is a replica")), None)
            }
            Self::Former { at } => {
                let why = format!("{at} answered, and is not the primary any more: the sentinels name another");
                (Some(why), None)
            }
            Self::UnknownService(name) => {
                let why = format!(
                    "the sentinels know no service {name:?}; it is the name after `sentinel monitor` in their settings"
                );
                (Some(why), None)
            }
            Self::Lost(error) => (None, Some(error)),
            Self::Unconfirmed { .. } => (None, None),
        };
        let error_or = |message: String| match error {
            Some(error) => StoreError::new(message).because(error),
            None => StoreError::new(message),
        };
        match why {
            Some(why) => error_or(format!("{message}: {why}")),
            None => error_or(message),
        }
    }
}

fn advice(error: &RedisError) -> Option<&'static str> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return Some("the server knows no such user, or the password is wrong: redis://USER:PASSWORD@HOST/");
    }
    let lacks_a_right = |text: &str| text.contains("user executing the script can't") || text.contains("ACL failure");
    match error.code() {
        Some("NOAUTH") => Some("the server wants a password: redis://:PASSWORD@HOST/, or redis://USER:PASSWORD@HOST/"),
        Some("WRONGPASS") => {
            Some("the server knows no such user, or the password is wrong: redis://USER:PASSWORD@HOST/")
        }
        Some("NOPERM") => Some(LACKS_A_RIGHT),
        Some("ERR") if error.detail().is_some_and(lacks_a_right) => Some(LACKS_A_RIGHT),
        Some("NOREPLICAS") => {
            Some("nothing was written: the server has fewer replicas in reach than its min-replicas-to-write asks for")
        }
        Some("READONLY") => Some(
            "that server is a replica and only reads: write the primary's address, or redis+sentinel://HOST:26379/SERVICE",
        ),
        Some("LOADING") => Some("the server is still loading its data"),
        _ if error.kind() == ErrorKind::Parse => {
            Some("what answers there is no Redis, or speaks TLS: rediss://HOST:PORT/")
        }
        _ if error.to_string().contains("refused to switch database") => {
            Some("the server has no database of that number: the number is what follows the host, redis://HOST/0")
        }
        _ if error.is_timeout() => Some("nobody answered in time (so ends rediss: to a port without TLS, too)"),
        _ => tls::advice(error).or_else(|| {
            let was_closed = error.is_connection_dropped() && !error.is_connection_refusal();
            was_closed
                .then_some("the connection was closed; where it always is, that is a port of TLS: rediss://HOST:PORT/")
        }),
    }
}

fn sentinel_advice(error: &RedisError) -> &'static str {
    let text = error.to_string();
    if error.kind() == ErrorKind::AuthenticationFailed || text.contains("NOAUTH") || text.contains("WRONGPASS") {
        return "the sentinels want another password: ?sentinel_password=PASSWORD, and ?sentinel_user=USER where it has one";
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            "the sentinels' user lacks a right: it needs +sentinel|master and +sentinel|get-master-addr-by-name"
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            "what answers there is no sentinel: they listen at port 26379 as a rule"
        }
        _ => tls::advice(error).unwrap_or("no sentinel answers"),
    }
}
