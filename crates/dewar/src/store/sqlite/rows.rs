//! A framework's table in an SQLite file, with our tombstones in our own.

use std::sync::Arc;

use rusqlite::{
    Connection, OptionalExtension, Result, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{SqliteStore, statements};
use crate::{
    layout::Table,
    store::{
        Answer, Applied, Load, StoreError, Timestamp,
        rows::{Act, Cell, Database, Decide, Flavor, Looks, NOT_DONE, Statement, There},
    },
};

impl Database for SqliteStore {
    const FLAVOR: Flavor = Flavor::Sqlite;

    fn look(&self, looks: Looks, now: Timestamp) -> Answer<'_, There> {
        Box::pin(async move { self.read(move |connection| there(connection, &looks, now)).await? })
    }

    fn step<'a>(
        &'a self,
        _what: &'static str,
        looks: Arc<[Looks]>,
        decide: Arc<Decide>,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        Box::pin(async move {
            let step = move |connection: &Connection| {
                let there = looks.iter().map(|looks| there(connection, looks, now));
                let there = match there.collect::<Result<std::result::Result<Vec<_>, _>>>()? {
                    Ok(there) => there,
                    Err(missing) => return Ok(Err(missing)),
                };
                let (acts, applied) = decide(&there);
                for act in &acts {
                    match act {
                        Act::Run(statement) => {
                            if run(connection, statement)? != 1 {
                                return Err(undone());
                            }
                        }
                        Act::Erect(key, tombstone) => statements::erect(connection, key, tombstone)?,
                    }
                }
                Ok(applied)
            };
            self.write(step).await?
        })
    }

    fn resolve<'a>(&'a self, table: &'a Table) -> Answer<'a, Box<str>> {
        Box::pin(std::future::ready(Ok(Flavor::Sqlite.name(&table.name).into())))
    }

    fn remove(&self, statement: Statement) -> Answer<'_, usize> {
        Box::pin(self.write(move |connection| run(connection, &statement)))
    }
}

fn there(connection: &Connection, looks: &Looks, now: Timestamp) -> Result<std::result::Result<There, StoreError>> {
    let Statement { sql, cells } = &looks.row;
    let mut statement = match connection.prepare_cached(sql) {
        Ok(statement) => statement,
        Err(error) if is_missing(&error) => return Ok(Err(looks.missing(error))),
        Err(error) => return Err(error),
    };
    let row = statement.query_row(rusqlite::params_from_iter(cells), |row| {
        let moment = match row.get_ref(2)? {
            ValueRef::Integer(moment) => moment,
            // No number, or no moment: it has ended.
            _ => 0,
        };
        Ok((row.get(0)?, bytes(row.get_ref(1)?), moment))
    });
    let tombstone = match statements::load(connection, &looks.tombstone, now)? {
        Load::Gone(tombstone) => Some(tombstone),
        _ => None,
    };
    Ok(Ok(There::new(looks, row.optional()?, tombstone)))
}

fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    }
}

fn run(connection: &Connection, Statement { sql, cells }: &Statement) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(cells))
}

/// Undoes the step.
fn undone() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT), Some(NOT_DONE.into()))
}

/// SQLite has one code for all that is wrong with a statement.
fn is_missing(error: &rusqlite::Error) -> bool {
    let text = error.to_string();
    text.contains("no such table") || text.contains("no such column")
}

impl ToSql for Cell {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Text(None) => ToSqlOutput::Owned(Value::Null),
            Self::Number(number) => ToSqlOutput::Owned(Value::Integer(*number)),
        })
    }
}
