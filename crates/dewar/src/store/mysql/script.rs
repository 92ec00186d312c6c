//! Several statements that are sent together, and answered in one round trip.

use std::fmt::Write;

use mysql_async::{Row, Value, prelude::Queryable};

use super::connection::{Failure, Lease};
use crate::store::rows::{Cell, Statement};

/// Statements in one text, with their values in it.
///
/// Only numbers and hexadecimal digits are written into it, which no mode of the server reads otherwise.
#[derive(Default)]
pub(super) struct Script {
    text: String,
    statements: usize,
}

/// What one statement of a script came to.
pub(super) struct Done {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

impl Script {
    /// Begins a transaction in which each statement sees what others have committed before it.
    ///
    /// It says all that `completion_type` and `transaction_read_only` would decide otherwise, and so does its end.
    pub(super) fn transaction() -> Self {
        Self::default()
            .then("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", &[])
            .then("START TRANSACTION READ WRITE", &[])
    }

    pub(super) fn commit(self) -> Self {
        self.then("COMMIT AND NO CHAIN NO RELEASE", &[])
    }

    /// Adds a statement, with these values in the place of its question marks.
    pub(super) fn then(mut self, statement: &str, values: &[Value]) -> Self {
        self.push(statement, values, Self::write);
        self
    }

    /// Adds a statement on a framework's table.
    pub(super) fn then_run(mut self, Statement { sql, cells }: &Statement) -> Self {
        self.push(sql, cells, |script, cell| match cell {
            // Of this character set: bytes would be found by no index.
            Cell::Text(Some(text)) => {
                script.text.push_str("_utf8mb4 ");
                script.write(&text.as_bytes().into());
            }
            Cell::Text(None) => script.write(&Value::NULL),
            Cell::Number(number) => script.write(&Value::Int(*number)),
        });
        self
    }

    fn push<T>(&mut self, statement: &str, values: &[T], write: impl Fn(&mut Self, &T)) {
        if self.statements > 0 {
            self.text.push_str("; ");
        }
        self.statements += 1;
        let mut parts = statement.split('?');
        self.text.push_str(parts.next().unwrap_or_default());
        debug_assert_eq!(parts.clone().count(), values.len(), "{statement}");
        for (part, value) in parts.zip(values) {
            write(self, value);
            self.text.push_str(part);
        }
    }

    fn write(&mut self, value: &Value) {
        match value {
            Value::Bytes(bytes) => {
                self.text.push_str("X'");
                bytes.iter().for_each(|byte| write!(self.text, "{byte:02X}").expect("a text takes it"));
                self.text.push('\'');
            }
            Value::Int(number) => write!(self.text, "{number}").expect("a text takes it"),
            Value::UInt(number) => write!(self.text, "{number}").expect("a text takes it"),
            _ => self.text.push_str("NULL"),
        }
    }

    /// What each statement came to. Where one fails, the server leaves out those that follow.
    pub(super) async fn run(self, connection: &mut Lease) -> Result<Vec<Done>, Failure> {
        let text = connection.named(&self.text);
        let mut results = connection.query_iter(text).await?;
        let mut all = Vec::with_capacity(self.statements);
        for _ in 0..self.statements {
            let changed = results.affected_rows();
            all.push(Done { rows: results.collect().await?, changed });
        }
        results.drop_result().await?;
        Ok(all)
    }
}

pub(super) async fn roll_back(connection: &mut Lease) -> Result<(), Failure> {
    Ok(connection.query_drop("ROLLBACK AND NO CHAIN NO RELEASE").await?)
}
