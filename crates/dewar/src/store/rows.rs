//! Records of another framework that are rows of its table, in any SQL database: [`Rows`], an [`Engine`] over a [`Database`].
//!
//! What is done is decided here, once for all databases. A step of a [`Database`] is one transaction: it looks at what stands under a name, locks it, and
//! does what is decided of that. So two who write one row do so one after the other, be they ours or the framework's, and the later of ours sees what the
//! earlier wrote.
//!
//! The version of a row is the digest of its text: a row that its framework only touched is still the same one.
//!
//! Tombstones are rows of our own table, in the same database. A step writes one in the transaction that removes the framework's row. Our table may be
//! missing rights that the framework's has, and the other way round; both are needed.

mod sql;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::OnceCell;

use self::sql::Statements;
pub(super) use self::sql::{Cell, Flavor, Statement};
use super::{
    Answer, Applied, Engine, Found, Guard, SessionAdmin, StoreError, StoreKey, Timestamp, Tombstone, Version, Write,
};
use crate::layout::{Ends, Stored, Table};

/// The widest that two zones are apart.
const EVERY_ZONE: Duration = Duration::from_secs(26 * 3600);

/// A database that has a framework's table, and our own for the tombstones.
pub(super) trait Database: SessionAdmin + fmt::Debug {
    /// How it is spoken to.
    const FLAVOR: Flavor;

    /// Finds what stands under a name, without a lock: the answer of [`Looks::row`] and the tombstone under [`Looks::tombstone`].
    fn look(&self, looks: Looks, now: Timestamp) -> Answer<'_, There>;

    /// One transaction: looks at each of these, with a lock on the row, and does what is decided of what is there.
    ///
    /// Where it collides with another one it is begun again, and decided anew.
    fn step<'a>(
        &'a self,
        what: &'static str,
        looks: Arc<[Looks]>,
        decide: Arc<Decide>,
        now: Timestamp,
    ) -> Answer<'a, Applied>;

    /// Runs a statement that removes rows, and says how many.
    fn remove(&self, statement: Statement) -> Answer<'_, usize>;

    /// The table's name as each statement says it, once it is known to be one that keeps what it is given.
    fn resolve<'a>(&'a self, table: &'a Table) -> Answer<'a, Box<str>>;
}

/// Says of what stands under each name what is to be done, and what that comes to.
pub(super) type Decide = dyn Fn(&[There]) -> (Vec<Act>, Result<Applied, StoreError>) + Send + Sync;

/// Where something is looked for.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    /// Gives the key, the text and the last moment in milliseconds, or no row.
    pub(super) row: Statement,
    /// Where the tombstone of the row is in our own table.
    pub(super) tombstone: StoreKey,
    name: Box<str>,
    table: Arc<Table>,
}

impl Looks {
    /// The framework's table is not there, or has other columns.
    pub(super) fn missing(&self, why: impl fmt::Display) -> StoreError {
        missing(&self.table, why)
    }

    /// The user may not do that to the framework's table.
    #[cfg(feature = "postgres")]
    pub(super) fn denied(&self, why: impl fmt::Display) -> StoreError {
        let name = &self.table.name;
        let needs = format!("this user needs SELECT, INSERT, UPDATE and DELETE on the framework's table {name}");
        StoreError::new(needs).because(why.to_string())
    }
}

/// The framework's table is not there, or has other columns.
pub(super) fn missing(table: &Table, why: impl fmt::Display) -> StoreError {
    let Table { name, made_by, .. } = table;
    let message = format!("there is no table of sessions as the framework makes it ({name}): run {made_by}");
    StoreError::new(message).because(why.to_string())
}

/// What is said where a statement on a locked row did not do what it says.
pub(super) const NOT_DONE: &str =
    "a policy, rule or trigger of the framework's table keeps a session from being written; nothing was done";

/// What stands under a name.
#[derive(Debug, Default)]
pub(super) struct There {
    row: Option<Row>,
    tombstone: Option<Tombstone>,
}

#[derive(Debug)]
struct Row {
    body: Bytes,
    expires: Timestamp,
}

impl There {
    /// What a statement gave, and the tombstone that has not run out.
    ///
    /// A row under another name than this one's is none: databases compare texts by rules of their own.
    pub(super) fn new(looks: &Looks, row: Option<(String, Vec<u8>, i64)>, tombstone: Option<Tombstone>) -> Self {
        let row = row.filter(|(name, ..)| **name == *looks.name);
        let row = row.map(|(_, body, expires)| Row {
            body: body.into(),
            expires: Timestamp::from_millis(expires.max(0).unsigned_abs()),
        });
        Self { row, tombstone }
    }

    /// The row that lives.
    fn living(&self, now: Timestamp) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.expires > now)
    }
}

/// Something to be done in a step.
#[derive(Debug)]
pub(super) enum Act {
    /// In the framework's table.
    Run(Statement),
    /// In ours: the tombstone, in the place of whatever stands there.
    Erect(StoreKey, Tombstone),
}

/// The engine of a framework's table.
#[derive(Debug)]
pub(super) struct Rows<D> {
    database: Arc<D>,
    table: Arc<Table>,
    statements: OnceCell<Statements>,
}

impl<D: Database> Rows<D> {
    pub(super) fn new(database: D, table: Arc<Table>) -> Self {
        Self::of(Arc::new(database), table)
    }

    fn of(database: Arc<D>, table: Arc<Table>) -> Self {
        Self { database, statements: OnceCell::new(), table }
    }

    async fn statements(&self) -> Result<&Statements, StoreError> {
        let of_table = async || {
            let name = self.database.resolve(&self.table).await?;
            Ok(Statements::of(&name, &self.table, D::FLAVOR))
        };
        self.statements.get_or_try_init(of_table).await
    }

    fn looks(&self, row: Statement, name: &str) -> Looks {
        Looks { row, tombstone: self.tombstone_key(name), name: name.into(), table: Arc::clone(&self.table) }
    }

    fn tombstone_key(&self, name: &str) -> StoreKey {
        StoreKey::foreign(format!("{} {name}", self.table.name))
    }

    async fn step(
        &self,
        what: &'static str,
        names: &[&str],
        decide: impl Fn(&[There]) -> (Vec<Act>, Result<Applied, StoreError>) + Send + Sync + 'static,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let statements = self.statements().await?;
        let looks = names.iter().map(|name| self.looks(statements.lock(name), name)).collect();
        self.database.step(what, looks, Arc::new(decide), now).await
    }
}

/// Nothing is done.
fn only(applied: Applied) -> (Vec<Act>, Result<Applied, StoreError>) {
    (Vec::new(), Ok(applied))
}

fn is(guard: Guard, row: &Row) -> bool {
    guard.version().is_none_or(|version| version == Version::digest(&row.body))
}

impl<D: Database> Engine for Rows<D> {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            // No text of a database has one.
            if name.contains('\0') {
                return Ok(Found::Missing);
            }
            let statements = self.statements().await?;
            let there = self.database.look(self.looks(statements.look(name), name), now).await?;
            if let Some(tombstone) = there.tombstone {
                if there.row.is_some() {
                    // The framework wrote it after the end. Where it has it locked, the next one removes it.
                    let delete = statements.delete(name);
                    let sweep = move |there: &[There]| match there {
                        [There { tombstone: Some(_), row: Some(_) }] => {
                            (vec![Act::Run(delete.clone())], Ok(Applied::Done))
                        }
                        _ => only(Applied::Conflict),
                    };
                    drop(self.step("load", &[name], sweep, now).await);
                }
                return Ok(Found::Gone(tombstone));
            }
            Ok(match there.row {
                Some(Row { body, expires }) if expires > now => {
                    let version = Version::digest(&body);
                    Found::Record { data: Stored::Row { body, also: Vec::new() }, version, expires }
                }
                _ => Found::Missing,
            })
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let statements = self.statements().await?;
            let (what, statement) = match (guard, &write) {
                (Guard::Absent, Write::Record { data, expires, .. }) => {
                    ("create", statements.insert(name, data, *expires)?)
                }
                (Guard::Is(_), Write::Record { data, expires, .. }) => {
                    ("replace", statements.update(name, data, *expires)?)
                }
                (Guard::Is(_), Write::Touch(expires)) => ("touch", statements.touch(name, *expires)),
                (Guard::Absent, Write::Touch(_)) | (Guard::Any, _) => {
                    return Err(StoreError::new("a record is not written over whatever stands there"));
                }
            };
            let delete = statements.delete(name);
            let decide = move |there: &[There]| {
                let [there] = there else { return only(Applied::Conflict) };
                let delete = there.row.is_some().then(|| Act::Run(delete.clone()));
                if let Some(tombstone) = &there.tombstone {
                    return (delete.into_iter().collect(), Ok(Applied::Gone(Some(tombstone.clone()))));
                }
                let run = Act::Run(statement.clone());
                match (there.living(now), guard) {
                    (None, Guard::Absent) => (delete.into_iter().chain([run]).collect(), Ok(Applied::Done)),
                    (None, _) => only(Applied::Gone(None)),
                    (Some(row), Guard::Is(_)) if is(guard, row) => (vec![run], Ok(Applied::Done)),
                    (Some(_), _) => only(Applied::Conflict),
                }
            };
            self.step(what, &[name], decide, now).await
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let (delete, key) = (self.statements().await?.delete(name), self.tombstone_key(name));
            let decide = move |there: &[There]| {
                let [there] = there else { return only(Applied::Conflict) };
                let delete = there.row.is_some().then(|| Act::Run(delete.clone()));
                let erect = |tombstone: &Tombstone| Act::Erect(key.clone(), tombstone.clone());
                if let Some(found) = &there.tombstone {
                    // The one that was there stays, for as long as the later of both.
                    let stays = found.clone().until(Some(tombstone.until));
                    let longer = (stays.until > found.until).then(|| erect(&stays));
                    return (delete.into_iter().chain(longer).collect(), Ok(Applied::Gone(Some(stays))));
                }
                match there.living(now) {
                    Some(row) if !is(guard, row) => only(Applied::Conflict),
                    Some(_) => (delete.into_iter().chain([erect(&tombstone)]).collect(), Ok(Applied::Done)),
                    None if guard.version().is_some() => only(Applied::Gone(None)),
                    None => (delete.into_iter().chain([erect(&tombstone)]).collect(), Ok(Applied::Gone(None))),
                }
            };
            self.step("delete", &[name], decide, now).await
        })
    }

    fn rename<'a>(
        &'a self,
        from: &'a str,
        guard: Guard,
        to: &'a str,
        write: Write,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        Box::pin(async move {
            let Write::Record { data, expires, .. } = write else { return Ok(Applied::Gone(None)) };
            let statements = self.statements().await?;
            let rename = statements.rename(from, to, &data, expires)?;
            let (delete, key) = (statements.delete(from), self.tombstone_key(from));
            let decide = move |there: &[There]| {
                let [there, new] = there else { return only(Applied::Conflict) };
                if let Some(tombstone) = &there.tombstone {
                    let delete = there.row.is_some().then(|| Act::Run(delete.clone()));
                    return (delete.into_iter().collect(), Ok(Applied::Gone(Some(tombstone.clone()))));
                }
                match there.living(now) {
                    None => only(Applied::Gone(None)),
                    Some(row) if !is(guard, row) => only(Applied::Conflict),
                    Some(_) if new.row.is_some() || new.tombstone.is_some() => {
                        (Vec::new(), Err(StoreError::new("the new id of a session is not new")))
                    }
                    Some(_) => {
                        let acts = vec![Act::Run(rename.clone()), Act::Erect(key.clone(), tombstone.clone())];
                        (acts, Ok(Applied::Done))
                    }
                }
            };
            self.step("rename", &[from, to], decide, now).await
        })
    }

    fn version(&self, data: &Stored, _drawn: Version) -> Version {
        Version::digest(data.body())
    }

    /// Rows that say themselves when they end, and tombstones. Others are left to the framework, which alone knows for sure how long its sessions live. A
    /// moment in a column that names no zone may be one of any: nothing goes that has ended in fewer than all of them.
    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(async move {
            let rows = match self.table.ends {
                Ends::At(_) => {
                    let ended = Timestamp::from_millis(now.as_millis().saturating_sub(EVERY_ZONE.as_millis() as u64));
                    self.database.remove(self.statements().await?.purge(limit, ended)).await?
                }
                Ends::After(..) => 0,
            };
            Ok(rows + SessionAdmin::purge(&*self.database, limit, now).await?)
        })
    }

    fn living(&self, lifetime: Duration) -> Option<Arc<dyn Engine>> {
        let table = self.table.lasting(lifetime)?;
        Some(Arc::new(Self::of(Arc::clone(&self.database), Arc::new(table))))
    }

    fn needs_purging(&self) -> bool {
        true
    }
}
