//! A framework's table in PostgreSQL, with our tombstones in our own.
//!
//! A step is two round trips, whatever it does: it begins and looks in the first, writes and commits in the second. Each of its statements is
//! unnamed, so that it runs behind PgBouncer, too.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use tokio_postgres::{
    Client as Server, Error, Row,
    error::SqlState,
    types::{Format, IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    PostgresStore,
    connection::{Client, IS_ALONE, Work, is_alone},
    failure::{Failure, in_full},
    rows::{self, Key, TombstoneColumns, Value, bytea, int8, millis, text},
    schema::Statements,
};
use crate::{
    layout::Table,
    store::{
        Answer, Applied, Load, StoreError, Timestamp, Tombstone,
        rows::{Act, Cell, Database, Decide, Flavor, Looks, NOT_DONE, Statement, There, missing},
    },
};

/// Who waits for a row that somebody has locked does not wait for ever, also where nobody waits for the answer any more.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = 5000";

/// Where a table of this name is to whoever does not name its schema.
const WHERE_IT_IS: &str = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)::pg_catalog.oid";

impl Database for PostgresStore {
    const FLAVOR: Flavor = Flavor::Postgres;

    fn look(&self, looks: Looks, now: Timestamp) -> Answer<'_, There> {
        Box::pin(async move { self.0.run(&Look { statements: self.statements(), looks: &looks, now }).await })
    }

    fn step<'a>(
        &'a self,
        what: &'static str,
        looks: Arc<[Looks]>,
        decide: Arc<Decide>,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        Box::pin(async move {
            let step = Step { statements: self.statements(), what, looks: &looks, decide: &*decide, now };
            self.0.run(&step).await?
        })
    }

    fn resolve<'a>(&'a self, table: &'a Table) -> Answer<'a, Box<str>> {
        Box::pin(async move { self.0.run(&Resolve(table)).await })
    }

    fn remove(&self, statement: Statement) -> Answer<'_, usize> {
        Box::pin(async move { self.0.run(&Removal(statement)).await })
    }
}

struct Look<'a> {
    statements: &'a Statements,
    looks: &'a Looks,
    now: Timestamp,
}

impl Work for Look<'_> {
    type Answer = There;

    fn what(&self) -> &'static str {
        "load"
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn on(&self, client: &Client) -> Result<There, Failure> {
        client.alone(there(client, self.statements, self.looks, self.now)).await
    }
}

struct Step<'a> {
    statements: &'a Statements,
    what: &'static str,
    looks: &'a [Looks],
    decide: &'a Decide,
    now: Timestamp,
}

impl Work for Step<'_> {
    type Answer = Result<Applied, StoreError>;

    fn what(&self) -> &'static str {
        self.what
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn on(&self, client: &Client) -> Result<Self::Answer, Failure> {
        let [first, ..] = self.looks else {
            return Err(Failure::Said(StoreError::new("postgres: a step looks at nothing")));
        };
        let open = Open::on(client);
        let begin = format!("{BEGIN}; {IS_ALONE}");
        let looks = join_all(self.looks.iter().map(|looks| there(client, self.statements, looks, self.now)));
        let (begun, there) = join(client.simple_query(&begin), looks).await;
        let begun = begun.map_err(|error| match error.code() {
            // It asked something before.
            Some(&SqlState::ACTIVE_SQL_TRANSACTION) => Failure::Unfinished,
            _ => Failure::Client(error),
        })?;
        if !is_alone(&begun) {
            return Err(Failure::Unfinished);
        }
        let there = there.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (acts, applied) = (self.decide)(&there);
        if acts.is_empty() {
            client.batch_execute("ROLLBACK").await?;
            open.ends();
            return Ok(applied);
        }
        let acts = join_all(acts.iter().map(|act| self.act(client, act, first)));
        let (done, committed) = join(acts, client.batch_execute("COMMIT")).await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        committed?;
        open.ends();
        Ok(applied)
    }
}

impl Step<'_> {
    async fn act(&self, client: &Server, act: &Act, looks: &Looks) -> Result<(), Failure> {
        match act {
            Act::Run(statement) => execute(client, statement).await.map(drop).map_err(|error| match error.code() {
                // Nothing that can be locked stood there.
                Some(&SqlState::UNIQUE_VIOLATION) => Failure::Overtaken,
                Some(&SqlState::DIVISION_BY_ZERO) => Failure::Said(StoreError::new(format!("postgres: {NOT_DONE}"))),
                _ => of_table(error, looks),
            }),
            Act::Erect(key, tombstone) => {
                let (key, columns) = (Key::of(key), TombstoneColumns::of(tombstone));
                let (bytes, at, now) = (key.bytes(), None::<i64>, millis(self.now));
                let mut values: Vec<Value<'_>> = vec![bytea(&bytes), text(&key.name), int8(&at), int8(&now)];
                values.extend(columns.values());
                Ok(client.query_typed(&self.statements.delete.sql, &values).await.map(drop)?)
            }
        }
    }
}

/// Finds the table's schema, once: afterwards no connection's `search_path` leads to another.
struct Resolve<'a>(&'a Table);

impl Work for Resolve<'_> {
    type Answer = Box<str>;

    fn what(&self) -> &'static str {
        "find the framework's table"
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn on(&self, client: &Client) -> Result<Box<str>, Failure> {
        let name = Flavor::Postgres.name(&self.0.name);
        let found = async { Ok(client.query_typed_opt(WHERE_IT_IS, &[text(&name)]).await?) };
        match client.alone(found).await? {
            Some(row) => Ok(Flavor::Postgres
                .name(&format!("{}.{}", row.try_get::<_, &str>(0)?, row.try_get::<_, &str>(1)?))
                .into()),
            None => Err(Failure::Said(missing(self.0, "it is in no schema of the search_path"))),
        }
    }
}

struct Removal(Statement);

impl Work for Removal {
    type Answer = usize;

    fn what(&self) -> &'static str {
        "purge"
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn on(&self, client: &Client) -> Result<usize, Failure> {
        client.alone(async { Ok(execute(client, &self.0).await? as usize) }).await
    }
}

/// A transaction that is rolled back where nobody waits for its end: the connection goes back to its pool.
struct Open<'a>(Option<&'a Server>);

impl<'a> Open<'a> {
    fn on(client: &'a Server) -> Self {
        Self(Some(client))
    }

    fn ends(mut self) {
        self.0 = None;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            // Once it is polled, it is on its way, behind all that was asked before.
            drop(client.batch_execute("ROLLBACK").now_or_never());
        }
    }
}

async fn there(client: &Server, statements: &Statements, looks: &Looks, now: Timestamp) -> Result<There, Failure> {
    let key = Key::of(&looks.tombstone);
    let (bytes, moment) = (key.bytes(), millis(now));
    let tombstone = [bytea(&bytes), int8(&moment)];
    let (row, tombstone) = join(query(client, &looks.row), client.query_typed(&statements.load.sql, &tombstone)).await;
    let row = row.map_err(|error| of_table(error, looks))?;
    let columns = |row: &Row| {
        let (name, body): (Option<&str>, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
        // Without a moment it has ended.
        let expires = row.try_get::<_, Option<i64>>(2)?.unwrap_or(0);
        Ok::<_, Error>((name.unwrap_or_default().to_owned(), body.unwrap_or_default().into(), expires))
    };
    let row = row.first().map(columns);
    Ok(There::new(looks, row.transpose()?, standing(&tombstone?, now)?))
}

/// What is wrong with the framework's table.
fn of_table(error: Error, looks: &Looks) -> Failure {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN) => Failure::Said(looks.missing(in_full(&error))),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Failure::Said(looks.denied(in_full(&error))),
        _ => Failure::Client(error),
    }
}

fn standing(rows: &[Row], now: Timestamp) -> Result<Option<Tombstone>, Error> {
    Ok(match rows.first().map(|row| rows::load(row, now)).transpose()? {
        Some(Load::Gone(tombstone)) => Some(tombstone),
        _ => None,
    })
}

async fn query(client: &Server, Statement { sql, cells }: &Statement) -> Result<Vec<Row>, Error> {
    client.query_typed(sql, &cells.iter().map(value).collect::<Vec<_>>()).await
}

async fn execute(client: &Server, Statement { sql, cells }: &Statement) -> Result<u64, Error> {
    client.execute_typed(sql, &cells.iter().map(value).collect::<Vec<_>>()).await
}

/// A text is taken for the column's own type, whichever it is.
fn value(cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Text(_) => (cell, Type::UNKNOWN),
        Cell::Number(number) => int8(number),
    }
}

impl ToSql for Cell {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Text(Some(text)) => (&**text).to_sql(&Type::TEXT, out),
            Self::Text(None) => Ok(IsNull::Yes),
            Self::Number(number) => number.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
