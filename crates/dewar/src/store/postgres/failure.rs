//! Why there is no answer, and what follows from that.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use super::tls::advice;
use crate::store::StoreError;

/// Why there is no answer.
pub(super) enum Failure {
    Client(tokio_postgres::Error),
    /// There is no connection.
    Unreached(StoreError),
    /// The schema is not what this needs.
    Schema(StoreError),
    /// The application gave the connection back in the middle of a transaction.
    Unfinished,
    /// Somebody wrote what this was about to write. Nothing was done.
    Overtaken,
    /// Nothing was done, for this reason.
    Said(StoreError),
}

pub(super) enum Kind {
    /// Two steps waited for each other, and this one was undone.
    Collided,
    /// The schema is not there.
    Unprepared,
    /// The server only reads. Nothing was done.
    Unusable,
    /// What was done is undone with the transaction that the connection is in.
    Unfinished,
    /// The connection was lost, and nobody knows what was done.
    Lost,
    Other,
}

impl Failure {
    pub(super) fn kind(&self) -> Kind {
        let error = match self {
            Self::Client(error) => error,
            Self::Unfinished => return Kind::Unfinished,
            Self::Overtaken => return Kind::Collided,
            Self::Unreached(_) | Self::Schema(_) | Self::Said(_) => return Kind::Other,
        };
        let Some(code) = error.code() else {
            let is_io = error.source().is_some_and(|source| source.is::<std::io::Error>());
            return if error.is_closed() || is_io { Kind::Lost } else { Kind::Other };
        };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::Collided,
            SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION | SqlState::INVALID_SCHEMA_NAME => {
                Kind::Unprepared
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => Kind::Unusable,
            SqlState::IN_FAILED_SQL_TRANSACTION => Kind::Unfinished,
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Kind::Lost,
            _ if code.code().starts_with("08") => Kind::Lost,
            _ => Kind::Other,
        }
    }

    pub(super) fn while_trying_to(self, what: &str) -> StoreError {
        let failed = StoreError::new(format!("postgres: cannot {what}"));
        match self {
            Self::Client(error) => failed.because(in_full(&error)),
            Self::Unreached(error) => failed.because(error),
            Self::Schema(error) | Self::Said(error) => error,
            Self::Overtaken => failed.because("others write the same row all the time"),
            Self::Unfinished => failed.because(UNFINISHED),
        }
    }
}

const UNFINISHED: &str = "the application's pool gave a connection that is in the middle of a transaction, so nothing was done, \
     and the connection was closed: end each transaction, by COMMIT or ROLLBACK, before its connection goes back to the pool";

/// Whether the server does not know, or no longer takes, what was prepared on the connection. Nothing was done.
pub(super) fn is_forgotten(error: &tokio_postgres::Error) -> bool {
    [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT, SqlState::FEATURE_NOT_SUPPORTED]
        .iter()
        .any(|code| error.code() == Some(code))
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Client(error)
    }
}

/// The error with all that is behind it, and what to do about it. Details of the server's, which may have values in them, are left out.
pub(super) fn in_full(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return match error.code().code() {
            "DW001" => {
                "this database's isolation is not READ COMMITTED: ALTER ROLE ... SET default_transaction_isolation = \
                        'read committed'"
                    .to_owned()
            }
            "DW003" => format!("{}: run what `PostgresStore::schema_sql` prints", error.message()),
            "25P02" => UNFINISHED.to_owned(),
            code => format!("{} ({code})", error.message()),
        };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        text = format!("{text}: {behind}");
        source = behind.source();
    }
    match advice(error) {
        Some(advice) => format!("{text}: {advice}"),
        None => text,
    }
}
