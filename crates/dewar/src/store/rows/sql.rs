//! The statements on a framework's table, in the words of each database.
//!
//! Values stand for themselves in the order in which a statement has them. What a database is given is a text, a number or NULL; it makes the column's own
//! type of a text.

use crate::{
    layout::{Ends, Stored, Table},
    store::{StoreError, Timestamp},
};

/// Which database's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Flavor {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    Mysql,
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(in crate::store) struct Statement {
    pub(in crate::store) sql: Box<str>,
    pub(in crate::store) cells: Vec<Cell>,
}

/// A value.
#[derive(Clone, Debug)]
pub(in crate::store) enum Cell {
    Text(Option<Box<str>>),
    Number(i64),
}

/// What is said to one table.
#[derive(Debug)]
pub(in crate::store) struct Statements {
    ends: Ends,
    also: usize,
    look: Box<str>,
    lock: Box<str>,
    insert: Box<str>,
    update: Box<str>,
    touch: Box<str>,
    delete: Box<str>,
    rename: Box<str>,
    purge: Box<str>,
}

impl Statements {
    /// `name` is what [`Database::resolve`](super::Database::resolve) said.
    pub(super) fn of(name: &str, table: &Table, flavor: Flavor) -> Self {
        let (key, body) = (flavor.quoted(table.key), flavor.quoted(table.body));
        let moment = match table.ends {
            Ends::After(column, _) | Ends::At(column) => flavor.quoted(column),
        };
        let read = flavor.read(table.ends, &moment);
        let written = |number| flavor.written(table.ends, number);
        let value = |number| flavor.value(number);
        let also: Vec<_> = table.also.iter().map(|column| flavor.quoted(column)).collect();
        // Of the statements that write a record: from which value on, and each column with its value.
        let sets = |first: usize| {
            let also = also.iter().enumerate().map(|(at, column)| format!(", {column} = {}", value(first + 2 + at)));
            format!("{body} = {}, {moment} = {}{}", value(first), written(first + 1), also.collect::<String>())
        };
        let columns: String = also.iter().map(|column| format!(", {column}")).collect();
        let values: String = (0..also.len()).map(|at| format!(", {}", value(4 + at))).collect();
        // The others are read so that a table without them is noticed before anything is written.
        let last = 3 + also.len();
        let is = |number| format!("{key} {} {}", flavor.equals(), value(number));
        let look = format!("SELECT {key}, {body}, {read}{columns} FROM {name} WHERE {}", is(1));
        let done = |sql: String| flavor.done(&sql).into();
        Self {
            ends: table.ends,
            also: also.len(),
            lock: format!("{look}{}", flavor.locking()).into(),
            insert: done(format!(
                "INSERT INTO {name} ({key}, {body}, {moment}{columns}) VALUES ({}, {}, {}{values})",
                value(1),
                value(2),
                written(3)
            )),
            update: done(format!("UPDATE {name} SET {} WHERE {}", sets(1), is(last))),
            touch: done(format!("UPDATE {name} SET {moment} = {} WHERE {}", written(1), is(2))),
            delete: done(format!("DELETE FROM {name} WHERE {}", is(1))),
            rename: done(format!("UPDATE {name} SET {key} = {}, {} WHERE {}", value(1), sets(2), is(last + 1))),
            purge: flavor.purge(name, &key, &flavor.is_over(&moment, &written(1))).into(),
            look: look.into(),
        }
    }

    fn said(&self, sql: &str, cells: impl IntoIterator<Item = Cell>) -> Statement {
        Statement { sql: sql.into(), cells: cells.into_iter().collect() }
    }

    pub(super) fn look(&self, name: &str) -> Statement {
        self.said(&self.look, [Cell::text(name)])
    }

    pub(super) fn lock(&self, name: &str) -> Statement {
        self.said(&self.lock, [Cell::text(name)])
    }

    pub(super) fn insert(&self, name: &str, data: &Stored, expires: Timestamp) -> Result<Statement, StoreError> {
        Ok(self.said(&self.insert, [Cell::text(name)].into_iter().chain(self.record(data, expires)?)))
    }

    pub(super) fn update(&self, name: &str, data: &Stored, expires: Timestamp) -> Result<Statement, StoreError> {
        Ok(self.said(&self.update, self.record(data, expires)?.into_iter().chain([Cell::text(name)])))
    }

    pub(super) fn touch(&self, name: &str, expires: Timestamp) -> Statement {
        self.said(&self.touch, [self.moment(expires), Cell::text(name)])
    }

    pub(super) fn delete(&self, name: &str) -> Statement {
        self.said(&self.delete, [Cell::text(name)])
    }

    pub(super) fn rename(
        &self,
        from: &str,
        to: &str,
        data: &Stored,
        expires: Timestamp,
    ) -> Result<Statement, StoreError> {
        let record = self.record(data, expires)?;
        Ok(self.said(&self.rename, [Cell::text(to)].into_iter().chain(record).chain([Cell::text(from)])))
    }

    pub(super) fn purge(&self, limit: usize, now: Timestamp) -> Statement {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.said(&self.purge, [self.moment(now), Cell::Number(limit)])
    }

    /// The text, when it ends, and what else is written.
    fn record(&self, data: &Stored, expires: Timestamp) -> Result<Vec<Cell>, StoreError> {
        let body = std::str::from_utf8(data.body()).ok().filter(|body| !body.contains('\0'));
        let body = body.ok_or_else(|| StoreError::new("the column of a record holds a text, and this one is none"))?;
        let mut also = match data {
            Stored::Row { also, .. } => also.clone(),
            Stored::Blob(_) => Vec::new(),
        };
        also.resize(self.also, None);
        Ok([Cell::text(body), self.moment(expires)].into_iter().chain(also.into_iter().map(Cell::Text)).collect())
    }

    /// In milliseconds, or the second of the last visit.
    fn moment(&self, expires: Timestamp) -> Cell {
        let millis = i64::try_from(expires.as_millis()).unwrap_or(i64::MAX);
        Cell::Number(match self.ends {
            Ends::After(_, lifetime) => millis / 1000 - lifetime.as_secs() as i64,
            Ends::At(_) => millis.min(LAST_SECOND * 1000),
        })
    }
}

impl Cell {
    fn text(text: &str) -> Self {
        Self::Text(Some(text.into()))
    }
}

/// The last second of the year 9999: later ones have no place in a column of moments.
const LAST_SECOND: i64 = 253_402_300_799;

impl Flavor {
    fn quoted(self, name: &str) -> String {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
            // To SQLite, a name in double quotes that is no column's is a text.
            #[allow(unreachable_patterns)] // Where no other database is known.
            _ => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A table's, with its schema where one is named.
    pub(in crate::store) fn name(self, name: &str) -> String {
        match name.split_once('.') {
            Some((schema, name)) => format!("{}.{}", self.quoted(schema), self.quoted(name)),
            None => self.quoted(name),
        }
    }

    /// Whether two texts are the same. PostgreSQL would look for an operator where whoever may can make one.
    fn equals(self) -> &'static str {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres => "OPERATOR(pg_catalog.=)",
            #[allow(unreachable_patterns)] // Where no other database is known.
            _ => "=",
        }
    }

    fn is_over(self, moment: &str, now: &str) -> String {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres => format!("{moment} OPERATOR(pg_catalog.<=) {now}"),
            #[allow(unreachable_patterns)] // Where no other database is known.
            _ => format!("{moment} <= {now}"),
        }
    }

    /// A statement on one row, which fails where it does nothing: the answer of PostgreSQL comes when the transaction is committed already.
    fn done(self, sql: &str) -> String {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres => format!(
                "WITH done AS ({sql} RETURNING 1) SELECT 1 OPERATOR(pg_catalog./) pg_catalog.count(*) FROM done"
            ),
            #[allow(unreachable_patterns)] // Where no other database is known.
            _ => sql.to_owned(),
        }
    }

    /// Where the value of this number stands.
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(unused_variables))]
    fn value(self, number: usize) -> String {
        match self {
            #[cfg(feature = "mysql")]
            Self::Mysql => "?".into(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => format!("?{number}"),
            #[cfg(feature = "postgres")]
            Self::Postgres => format!("${number}"),
        }
    }

    /// Locks the row for the transaction.
    fn locking(self) -> &'static str {
        match self {
            // Its transaction is the only one that writes.
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "",
            #[allow(unreachable_patterns)] // Where no other database is known.
            _ => " FOR UPDATE",
        }
    }

    /// When a row ends, in milliseconds. NULL, and what is no moment of this age, has ended.
    fn read(self, ends: Ends, column: &str) -> String {
        match (ends, self) {
            #[cfg(feature = "sqlite")]
            (Ends::After(_, lifetime), Self::Sqlite) => format!("({column} + {}) * 1000", lifetime.as_secs()),
            #[cfg(feature = "postgres")]
            (Ends::After(_, lifetime), Self::Postgres) => format!(
                "(LEAST(GREATEST({column}::pg_catalog.int8, 0), {LAST_SECOND}) OPERATOR(pg_catalog.+) {}) OPERATOR(pg_catalog.*) 1000::pg_catalog.int8",
                lifetime.as_secs()
            ),
            #[cfg(feature = "mysql")]
            (Ends::After(_, lifetime), Self::Mysql) => {
                format!("CAST((LEAST(GREATEST({column}, 0), {LAST_SECOND}) + {}) * 1000 AS SIGNED)", lifetime.as_secs())
            }
            #[cfg(feature = "sqlite")]
            (Ends::At(_), Self::Sqlite) => {
                format!("CAST(round((julianday({column}) - 2440587.5) * 86400000) AS INTEGER)")
            }
            #[cfg(feature = "postgres")]
            (Ends::At(_), Self::Postgres) => format!(
                "CASE WHEN pg_catalog.isfinite({column}) THEN \
                 (extract(epoch FROM {column})::pg_catalog.float8 OPERATOR(pg_catalog.*) 1000::pg_catalog.float8)::pg_catalog.int8 END"
            ),
            #[cfg(feature = "mysql")]
            (Ends::At(_), Self::Mysql) => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column}) DIV 1000"),
        }
    }

    /// The column's value of the number that [`Statements::moment`] made.
    fn written(self, ends: Ends, number: usize) -> String {
        let value = self.value(number);
        match (ends, self) {
            (Ends::After(..), _) => value,
            #[cfg(feature = "sqlite")]
            (Ends::At(_), Self::Sqlite) => format!("strftime('%Y-%m-%d %H:%M:%f', {value} / 1000.0, 'unixepoch')"),
            #[cfg(feature = "postgres")]
            (Ends::At(_), Self::Postgres) => format!(
                "pg_catalog.to_timestamp({value}::pg_catalog.float8 OPERATOR(pg_catalog./) 1000::pg_catalog.float8)"
            ),
            #[cfg(feature = "mysql")]
            (Ends::At(_), Self::Mysql) => format!("DATE_ADD('1970-01-01', INTERVAL {value} * 1000 MICROSECOND)"),
        }
    }

    /// Removes some rows that have ended: the second value says how many at most. What is written to meanwhile has not.
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(unused_variables))]
    fn purge(self, table: &str, key: &str, is_over: &str) -> String {
        match self {
            #[cfg(feature = "mysql")]
            Self::Mysql => format!("DELETE FROM {table} WHERE {is_over} LIMIT ?"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => {
                format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {is_over} LIMIT ?2)")
            }
            #[cfg(feature = "postgres")]
            Self::Postgres => format!(
                "DELETE FROM {table} WHERE {is_over} AND {key} OPERATOR(pg_catalog.=) ANY (ARRAY(\
                 SELECT {key} FROM {table} WHERE {is_over} LIMIT $2 FOR UPDATE SKIP LOCKED))"
            ),
        }
    }
}
