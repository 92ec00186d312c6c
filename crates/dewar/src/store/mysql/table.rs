//! A framework's table in MySQL or MariaDB, with our tombstones in our own.
//!
//! A step is three round trips: it begins and looks in the first, writes in the second, and commits in the third, once each statement is known to have done what it says.

use std::sync::Arc;

use mysql_async::Row;

use super::{
    MysqlStore, ask,
    connection::{Failure, Lease, Request},
    rows::{id, load, new_id, take, tombstone},
    script::{Done, Script, roll_back},
    statements::{ATTEMPTS, LOAD},
    steps::ERECT_ANYWAY,
};
use crate::{
    layout::Table,
    store::{
        Answer, Applied, Load, StoreError, Timestamp,
        rows::{Act, Database, Decide, Flavor, Looks, NOT_DONE, Statement, There, missing as missing_table},
    },
};

const ENGINE: &str =
    "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = _utf8mb4 ? AND TABLE_NAME = _utf8mb4 ?";

/// Without it, a text that is too long is cut, and confirmed.
const IS_STRICT: &str = "SELECT @@SESSION.sql_mode LIKE '%STRICT\\_%\\_TABLES%'";

const IS_LAX: Failure = Failure::Told(
    "the application's connections cut what does not fit into a column: SET sql_mode with STRICT_TRANS_TABLES, which is the server's default",
);

type Result<T> = std::result::Result<T, Failure>;

const UNEXPECTED: Failure = Failure::Told("the server gave another number of answers than it was asked for");

impl Database for MysqlStore {
    const FLAVOR: Flavor = Flavor::Mysql;

    fn look(&self, looks: Looks, now: Timestamp) -> Answer<'_, There> {
        Box::pin(async move { ask!(self, "load", Repeatable, connection => look(connection, &looks, now)) })
    }

    fn step<'a>(
        &'a self,
        what: &'static str,
        looks: Arc<[Looks]>,
        decide: Arc<Decide>,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        Box::pin(async move { ask!(self, what, Once, connection => step(connection, &looks, &*decide, now))? })
    }

    fn resolve<'a>(&'a self, table: &'a Table) -> Answer<'a, Box<str>> {
        Box::pin(async move {
            ask!(self, "find the framework's table", Repeatable, connection => resolve(connection, table))
        })
    }

    fn remove(&self, statement: Statement) -> Answer<'_, usize> {
        Box::pin(async move { ask!(self, "purge", Repeatable, connection => remove(connection, &statement)) })
    }
}

/// The application may have named another database on its connections: so it is named. A table of an engine without transactions would confirm what it loses.
async fn resolve(connection: &mut Lease, table: &Table) -> Result<Box<str>> {
    let (database, name) = match table.name.split_once('.') {
        Some((database, name)) => (database.to_owned(), name),
        None => (connection.opts().db_name().unwrap_or_default().to_owned(), &*table.name),
    };
    let values = [database.as_str().into(), name.into()];
    let mut done = Script::default().then(ENGINE, &values).run(connection).await?;
    let engine = done.first_mut().and_then(|done| done.rows.first_mut()).map(|row| take::<Option<String>>(row, 0));
    match engine.transpose()?.map(Option::unwrap_or_default) {
        Some(engine) if engine.eq_ignore_ascii_case("InnoDB") => {
            Ok(Flavor::Mysql.name(&format!("{database}.{name}")).into())
        }
        Some(engine) => Err(Failure::Said(format!(
            "the table {name} has the engine {engine:?}, which keeps no promise; ALTER TABLE {name} ENGINE = InnoDB"
        ))),
        None => Err(Failure::Said(missing_table(table, format!("the database {database} has none")).to_string())),
    }
}

async fn look(connection: &mut Lease, looks: &Looks, now: Timestamp) -> Result<There> {
    let done = asks(Script::default(), looks).run(connection).await;
    let mut done = done.map_err(|failure| missing(failure, looks))?;
    there(&mut done, looks, now)
}

async fn step(
    connection: &mut Lease,
    looks: &[Looks],
    decide: &Decide,
    now: Timestamp,
) -> Result<std::result::Result<Applied, StoreError>> {
    let [first, ..] = looks else { return Err(UNEXPECTED) };
    for _ in 0..ATTEMPTS {
        let script = looks.iter().fold(Script::transaction().then(IS_STRICT, &[]), asks);
        let mut done = script.run(connection).await.map_err(|failure| missing(failure, first))?;
        let [_, _, strict, done @ ..] = &mut done[..] else { return Err(UNEXPECTED) };
        if strict.rows.first_mut().map(|row| take::<i64>(row, 0)).transpose()? != Some(1) {
            roll_back(connection).await?;
            return Err(IS_LAX);
        }
        let there = done.chunks_mut(2).zip(looks).map(|(done, looks)| there(done, looks, now));
        let (acts, applied) = decide(&there.collect::<Result<Vec<_>>>()?);
        if acts.is_empty() {
            roll_back(connection).await?;
            return Ok(applied);
        }
        let mut script = Script::default();
        for act in &acts {
            script = match act {
                Act::Run(statement) => script.then_run(statement),
                Act::Erect(key, dead) => {
                    let mut values = tombstone(dead)?.to_vec();
                    values.push(new_id(key)?);
                    script.then(ERECT_ANYWAY, &values)
                }
            };
        }
        match script.run(connection).await {
            Ok(done) if acts.iter().zip(&done).all(|(act, done)| is_done(act, done)) => {
                Script::default().commit().run(connection).await?;
                return Ok(applied);
            }
            Ok(_) => {
                roll_back(connection).await?;
                return Err(Failure::Told(NOT_DONE));
            }
            // Somebody was faster: nothing that can be locked stood there.
            Err(failure) if failure.is_duplicate() => roll_back(connection).await?,
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Told("others write the same row all the time"))
}

/// To the server, a row that is written as it was is not changed.
fn is_done(act: &Act, done: &Done) -> bool {
    match act {
        Act::Run(statement) => done.changed == 1 || (done.changed == 0 && statement.sql.starts_with("UPDATE")),
        Act::Erect(..) => true,
    }
}

async fn remove(connection: &mut Lease, statement: &Statement) -> Result<usize> {
    let done = Script::default().then_run(statement).run(connection).await?;
    Ok(done.first().map_or(0, |done| done.changed as usize))
}

fn asks(script: Script, looks: &Looks) -> Script {
    script.then_run(&looks.row).then(LOAD, &[id(&looks.tombstone)])
}

/// What the two statements of [`asks`] gave.
fn there(done: &mut [Done], looks: &Looks, now: Timestamp) -> Result<There> {
    let [row, dead] = done else { return Err(UNEXPECTED) };
    let row = row.rows.first_mut().map(columns).transpose()?;
    let dead = dead.rows.pop().map(|row| load(row, now)).transpose()?;
    let tombstone = match dead {
        Some(Load::Gone(tombstone)) => Some(tombstone),
        _ => None,
    };
    Ok(There::new(looks, row, tombstone))
}

fn columns(row: &mut Row) -> Result<(String, Vec<u8>, i64)> {
    let body = take::<Option<Vec<u8>>>(row, 1)?.unwrap_or_default();
    // Without a moment it has ended.
    Ok((take(row, 0)?, body, take::<Option<i64>>(row, 2)?.unwrap_or(0)))
}

/// Where it is the framework's table that is missing, or a column of it.
fn missing(failure: Failure, looks: &Looks) -> Failure {
    match &failure {
        Failure::Client(error)
            if matches!(failure.code(), Some(1146 | 1054)) && !error.to_string().contains(".dewar_") =>
        {
            Failure::Said(looks.missing(error).to_string())
        }
        _ => failure,
    }
}
