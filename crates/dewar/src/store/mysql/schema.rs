//! The tables: made where they are missing, looked at where they are there.
//!
//! A process of the release before may still be writing, while a site is being deployed: so columns and tables are only ever added.

use std::sync::LazyLock;

use mysql_async::{Row, Value, prelude::Queryable};

use super::{
    connection::{Failure, Lease},
    rows::take,
    script::Script,
};

/// The version of the tables below.
pub(super) const SCHEMA: i64 = 1;

const SESSION: &str = "CREATE TABLE IF NOT EXISTS {db}.dewar_session (
    id               VARBINARY(768)  NOT NULL PRIMARY KEY,
    version          BIGINT          NOT NULL,
    gone             TINYINT         NOT NULL,
    expires          BIGINT          NOT NULL,
    created          BIGINT          NOT NULL,
    idle_seconds     INT UNSIGNED    NOT NULL,
    idle_expires     BIGINT          NOT NULL,
    absolute_expires BIGINT,
    persistent       TINYINT         NOT NULL,
    principal        VARBINARY(1024),
    label            MEDIUMBLOB,
    lineage          BIGINT          NOT NULL,
    epoch            BIGINT          NOT NULL,
    guarded_until    BIGINT,
    why              TINYINT,
    nonce            BIGINT,
    made             BIGINT,
    successor        VARBINARY(768),
    data             LONGBLOB,
    KEY dewar_session_expires (expires, gone),
    KEY dewar_session_principal (principal, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC";

const EPOCH: &str = "CREATE TABLE IF NOT EXISTS {db}.dewar_epoch (
    whose            VARBINARY(1027) NOT NULL PRIMARY KEY,
    epoch            BIGINT          NOT NULL,
    passes           BIGINT,
    KEY dewar_epoch_epoch (epoch)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC";

const SCHEMA_TABLE: &str = "CREATE TABLE IF NOT EXISTS {db}.dewar_schema (
    version          BIGINT          NOT NULL PRIMARY KEY,
    purged           BIGINT          NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC";

const EVERYBODY: &str = "INSERT IGNORE INTO {db}.dewar_epoch (whose, epoch) VALUES ('everybody', 0)";

const VERSION: &str = "INSERT IGNORE INTO {db}.dewar_schema (version, purged) VALUES (1, 0)";

/// The tables, and what stands in them from the beginning, for the database that is in use.
pub(super) static SQL: LazyLock<String> = LazyLock::new(|| {
    let statements = [SESSION, EPOCH, SCHEMA_TABLE, EVERYBODY, VERSION];
    statements.map(|statement| statement.replace("{db}.", "") + ";\n").join("\n")
});

const TABLES: [(&str, &str); 3] = [("dewar_session", SESSION), ("dewar_epoch", EPOCH), ("dewar_schema", SCHEMA_TABLE)];

const GET_VERSION: &str = "SELECT MAX(version) FROM {db}.dewar_schema";

/// Where the server tells two names apart by their case, MariaDB's `information_schema` does not.
macro_rules! ours {
    () => {
        "TABLE_SCHEMA = _utf8mb4 ? AND TABLE_NAME IN ('dewar_session', 'dewar_epoch', 'dewar_schema') AND \
         (@@lower_case_table_names > 0 OR \
         (CAST(TABLE_SCHEMA AS BINARY) = ? AND CAST(TABLE_NAME AS BINARY) = CAST(LOWER(TABLE_NAME) AS BINARY))) LIMIT 1000"
    };
}

const ENGINES: &str = concat!("SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE ", ours!());

const COLUMNS: &str =
    concat!("SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS WHERE ", ours!());

/// Where the character sets are two, the server translates every text on its way in; in a mode of Oracle's, an empty one is NULL.
const KEEPS_TEXTS: &str = "SELECT @@character_set_client = @@character_set_connection AND '' IS NOT NULL";

const NO_SUCH_TABLE: u16 = 1146;

/// Sees to it that the tables are there, and are ours.
pub(super) async fn prepare(connection: &mut Lease) -> Result<(), Failure> {
    if version(connection).await? == Some(SCHEMA) {
        return check(connection).await;
    }
    // A table of somebody else's is found before ours are put beside it.
    check(connection).await?;
    // Several processes may do each step at once.
    for (_, table) in TABLES {
        make(connection, table).await?;
    }
    check(connection).await?;
    make(connection, EVERYBODY).await?;
    make(connection, VERSION).await
}

/// The version of the tables; `None` where none is written down.
async fn version(connection: &mut Lease) -> Result<Option<i64>, Failure> {
    let look = connection.named(GET_VERSION);
    let found = connection.query_first::<Option<i64>, _>(look).await.map_err(Failure::from);
    match found {
        Ok(version) => match version.flatten() {
            Some(later) if later > SCHEMA => Err(Failure::Said(format!(
                "its tables have the unknown version {later}: a later release made them; run that release"
            ))),
            known => Ok(known),
        },
        Err(failure) if failure.code() == Some(NO_SUCH_TABLE) => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn make(connection: &mut Lease, statement: &str) -> Result<(), Failure> {
    let statement = connection.named(statement);
    match connection.query_drop(statement).await.map_err(Failure::from) {
        Err(failure @ Failure::Client(_)) if matches!(failure.code(), Some(1142 | 1044)) => Err(Failure::Told(
            "this user may not make its tables: let somebody run what dewar::store::mysql::schema_sql() returns, or GRANT CREATE",
        )),
        done => done,
    }
}

/// Fails where a table has not our columns, or is kept by an engine without transactions.
async fn check(connection: &mut Lease) -> Result<(), Failure> {
    let database = Value::from(connection.opts().db_name().unwrap_or_default());
    let names = [database.clone(), database];
    let look = Script::default().then(ENGINES, &names).then(COLUMNS, &names).then(KEEPS_TEXTS, &[]);
    let mut done = look.run(connection).await?;
    let [engines, columns, keeps_texts] = &mut done[..] else {
        return Err(Failure::Told("information_schema is silent"));
    };
    if keeps_texts.rows.first_mut().map(|row| take(row, 0)).transpose()? != Some(true) {
        return Err(Failure::Told(
            "the application's connections would change what is written: SET NAMES utf8mb4, and a sql_mode without EMPTY_STRING_IS_NULL",
        ));
    }
    let columns = columns.rows.iter_mut().map(read).collect::<Result<Vec<_>, _>>()?;
    for row in &mut engines.rows {
        let (table, engine): (Vec<u8>, Option<Vec<u8>>) = (take(row, 0)?, take(row, 1)?);
        let (table, engine) = (text(table), engine.map(text).unwrap_or_default());
        let Some((_, statement)) = TABLES.iter().find(|(name, _)| *name == table) else { continue };
        let has = |name: &str, kind: &str| {
            columns.iter().any(|(of, column, found)| *of == table && column == name && found == kind)
        };
        if let Some((name, kind)) = columns_of(statement).find(|(name, kind)| !has(name, kind)) {
            return Err(Failure::Said(format!(
                "the table {table} is not this store's: it has no column {name} {kind}; rename it, or use another database"
            )));
        }
        if engine != "innodb" {
            return Err(Failure::Said(format!(
                "the table {table} has the engine {engine:?}, which keeps no promise; ALTER TABLE {table} ENGINE = InnoDB"
            )));
        }
    }
    Ok(())
}

fn read(row: &mut Row) -> Result<(String, String, String), Failure> {
    let (table, column, kind): (Vec<u8>, Vec<u8>, Vec<u8>) = (take(row, 0)?, take(row, 1)?, take(row, 2)?);
    Ok((text(table), text(column), plain(&text(kind))))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).to_lowercase()
}

/// MariaDB adds to a number how wide it is shown: `bigint(20)`, `int(10) unsigned`.
fn plain(kind: &str) -> String {
    match kind.split_once('(') {
        Some((number, rest)) if number.ends_with("int") => {
            number.to_owned() + rest.split_once(')').map_or("", |(_, rest)| rest)
        }
        _ => kind.to_owned(),
    }
}

/// The names and types in a `CREATE TABLE`, in lower case.
fn columns_of(statement: &str) -> impl Iterator<Item = (String, String)> + '_ {
    statement.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("    ")?.split_once(' ')?;
        let kind = rest.trim().trim_end_matches(',').to_lowercase();
        let kind = kind.split(" not null").next()?.trim().to_owned();
        (name != "KEY").then(|| (name.to_owned(), kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_the_statement() {
        let columns: Vec<_> = columns_of(EPOCH).collect();
        let expected = [("whose", "varbinary(1027)"), ("epoch", "bigint"), ("passes", "bigint")];
        assert_eq!(columns, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
        assert!(columns_of(SESSION).any(|column| column == ("idle_seconds".to_owned(), "int unsigned".to_owned())));
        assert_eq!(columns_of(SESSION).count(), 19);
    }

    #[test]
    fn how_wide_a_number_is_shown_does_not_matter() {
        assert_eq!(
            ["bigint(20)", "int(10) unsigned", "varbinary(768)"].map(plain),
            ["bigint", "int unsigned", "varbinary(768)"]
        );
    }
}
