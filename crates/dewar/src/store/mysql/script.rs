//! Several statements that are sent together, and answered in one round trip.

use std::fmt::Write;

use mysql_async::{Conn, Row, Value, prelude::Queryable};

use super::connection::Failure;

/// Statements in one text, with their values in it.
///
/// Only numbers and hexadecimal digits are written into it, which no mode of the server reads otherwise.
#[derive(Default)]
pub(super) struct Script(String);

/// What one statement of a script came to.
pub(super) struct Done {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

impl Script {
    /// Begins a transaction in which each statement sees what others have committed before it.
    pub(super) fn transaction() -> Self {
        Self("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION".into())
    }

    pub(super) fn commit(self) -> Self {
        self.then("COMMIT", &[])
    }

    /// Adds a statement, with these values in the place of its question marks.
    pub(super) fn then(mut self, statement: &str, values: &[Value]) -> Self {
        if !self.0.is_empty() {
            self.0.push_str("; ");
        }
        let mut parts = statement.split('?');
        self.0.push_str(parts.next().unwrap_or_default());
        debug_assert_eq!(parts.clone().count(), values.len(), "{statement}");
        for (part, value) in parts.zip(values) {
            self.write(value);
            self.0.push_str(part);
        }
        self
    }

    fn write(&mut self, value: &Value) {
        match value {
            Value::Bytes(bytes) => {
                self.0.push_str("X'");
                bytes.iter().for_each(|byte| write!(self.0, "{byte:02X}").expect("a text takes it"));
                self.0.push('\'');
            }
            Value::Int(number) => write!(self.0, "{number}").expect("a text takes it"),
            Value::UInt(number) => write!(self.0, "{number}").expect("a text takes it"),
            _ => self.0.push_str("NULL"),
        }
    }

    /// What each statement came to. Where one fails, the server leaves out those that follow.
    pub(super) async fn run(self, connection: &mut Conn) -> Result<Vec<Done>, Failure> {
        let mut results = connection.query_iter(self.0).await?;
        let mut all = Vec::new();
        loop {
            let changed = results.affected_rows();
            all.push(Done { rows: results.collect().await?, changed });
            if results.is_empty() {
                break;
            }
        }
        results.drop_result().await?;
        Ok(all)
    }
}

pub(super) async fn roll_back(connection: &mut Conn) -> Result<(), Failure> {
    Ok(connection.query_drop("ROLLBACK").await?)
}
