//! The schema: its name, its SQL, and whether it is there.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Mutex;
use tokio_postgres::{Client, error::SqlState, types::Type};

use super::{
    connection::Asked,
    failure::{Failure, in_full},
    rows::{LOADED, RECORD, record_parameters, tombstone_parameters},
};
use crate::store::StoreError;

/// The version of the tables and functions in `schema.sql`.
const VERSION: i32 = 2;

const SQL: &str = include_str!("schema.sql");

/// The oldest server that has all that `schema.sql` needs.
const OLDEST_SERVER: i32 = 130_000;

/// How often it is begun again where another process makes it at the same time.
const ATTEMPTS: u32 = 5;

/// PostgreSQL cuts longer names; channels have more behind it.
const LONGEST_NAME: usize = 48;

pub(super) struct Schema {
    name: Box<str>,
    unlogged: bool,
    pub(super) statements: Statements,
    stands: AtomicBool,
    turn: Mutex<()>,
}

/// What is asked for, in the words of this schema.
pub(super) struct Statements {
    pub(super) load: Asked,
    pub(super) create: Asked,
    pub(super) replace: Asked,
    pub(super) touch: Asked,
    pub(super) delete: Asked,
    pub(super) rename: Asked,
    pub(super) ping: Asked,
    pub(super) count: Asked,
    pub(super) list: Asked,
    pub(super) list_of: Asked,
    pub(super) epoch: Asked,
    pub(super) revoke: Asked,
    pub(super) raise_everybodys: Asked,
    pub(super) end_begun_before: Asked,
    pub(super) purge: Asked,
    pub(super) claim_purge: Asked,
    pub(super) begin_to_listen: String,
    pub(super) go_on_listening: String,
}

impl Default for Schema {
    fn default() -> Self {
        Self::of("dewar", false)
    }
}

impl Schema {
    fn of(name: &str, unlogged: bool) -> Self {
        let statements = Statements::of(name);
        Self { name: name.into(), unlogged, statements, stands: AtomicBool::new(false), turn: Mutex::default() }
    }

    /// The same settings, and nothing known.
    pub(super) fn settings(&self) -> Self {
        Self::of(&self.name, self.unlogged)
    }

    pub(super) fn named(self, name: &str) -> Result<Self, StoreError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins_plainly = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        if name.len() > LONGEST_NAME || !begins_plainly || name.starts_with("pg_") || !name.bytes().all(is_plain) {
            return Err(StoreError::new(format!(
                "postgres: a schema's name is at most {LONGEST_NAME} of a-z, 0-9 and _, begins with a letter, and not with pg_"
            )));
        }
        Ok(Self::of(name, self.unlogged))
    }

    pub(super) fn unlogged(self, unlogged: bool) -> Self {
        Self::of(&self.name, unlogged)
    }

    /// What makes the schema.
    pub(super) fn sql(&self) -> String {
        let name = &self.name;
        let sql = of_schema(SQL, name).replace("CREATE SCHEMA dewar;", &format!("CREATE SCHEMA \"{name}\";"));
        match self.unlogged {
            true => sql.replace(
                &format!("CREATE TABLE \"{name}\".session"),
                &format!("CREATE UNLOGGED TABLE \"{name}\".session"),
            ),
            false => sql,
        }
    }

    /// Where endings are told of.
    pub(super) fn channel(&self) -> String {
        format!("{}:endings", self.name)
    }

    /// Whether it was dropped, or this is another server.
    pub(super) fn is_lost(&self) {
        self.stands.store(false, Relaxed);
    }

    /// Makes it where it is missing. Costs nothing once it is known to stand.
    pub(super) async fn stands(&self, client: &Client) -> Result<(), Failure> {
        if self.stands.load(Relaxed) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if !self.stands.load(Relaxed) {
            self.prepare(client).await?;
            self.stands.store(true, Relaxed);
        }
        Ok(())
    }

    async fn prepare(&self, client: &Client) -> Result<(), Failure> {
        const SERVER: &str = "SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_encoding')";
        let server = client.query_typed_one(SERVER, &[]).await?;
        if server.try_get::<_, i32>(0)? < OLDEST_SERVER {
            return Err(self.refused("PostgreSQL 13 or later is needed"));
        }
        if server.try_get::<_, &str>(1)? != "UTF8" {
            return Err(self.refused("the database's encoding is not UTF8: CREATE DATABASE ... ENCODING 'UTF8'"));
        }
        let mut attempts = 1;
        while self.installed(client).await?.is_none_or(|version| version < VERSION) {
            match client.batch_execute(&self.sql()).await {
                Err(error) if attempts == ATTEMPTS || !is_made_meanwhile(&error) => return Err(self.denied(error)),
                _ => attempts += 1,
            }
        }
        Ok(())
    }

    /// The version of the tables that are there.
    ///
    /// # Errors
    ///
    /// Where the tables are not ours, of a later release, or not as the settings say.
    async fn installed(&self, client: &Client) -> Result<Option<i32>, Failure> {
        const IS_THERE: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
        let table = format!("\"{}\".schema", self.name);
        let is_there = client.query_typed_one(IS_THERE, &[(&table, Type::TEXT)]).await;
        if !is_there.map_err(|error| self.denied(error))?.try_get::<_, bool>(0)? {
            return Ok(None);
        }
        // What it needs of the tables is asked for by name.
        let version = of_schema(
            "SELECT s.version, s.oldest, s.one, s.purged, s.listened, \
             (SELECT c.relpersistence OPERATOR(pg_catalog.=) 'u'::pg_catalog.\"char\" FROM pg_catalog.pg_class c \
              WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('dewar.session')::pg_catalog.oid) \
             FROM dewar.schema s",
            &self.name,
        );
        let row = match client.query_typed_opt(&version, &[]).await {
            Ok(Some(row)) => row,
            Ok(None) => return Err(self.refused(THEIRS)),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => return Err(self.refused(THEIRS)),
            Err(error) => return Err(self.denied(error)),
        };
        if row.try_get::<_, Option<bool>>(5)?.is_none() {
            return Err(self.refused(THEIRS));
        }
        let (version, oldest, unlogged): (i32, i32, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(5)?);
        if oldest > VERSION {
            return Err(self.refused(&format!(
                "a later release of this library made it (version {version}), and this one (version {VERSION}) does not know it"
            )));
        }
        let name = &self.name;
        match (unlogged, self.unlogged) {
            (true, false) => Err(self.refused(&format!(
                "its sessions do not survive a crash of the server, because the table was made with unlogged=true: set that here, \
                 too, or run ALTER TABLE \"{name}\".session SET LOGGED"
            ))),
            (false, true) => Err(self.refused(&format!(
                "its table was made without unlogged=true: leave that out, or run ALTER TABLE \"{name}\".session SET UNLOGGED"
            ))),
            _ => Ok(Some(version)),
        }
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::Schema(StoreError::new(format!("postgres: cannot use the schema {}: {why}", self.name)))
    }

    /// The failure with what to do about it, where it is one of rights or of somebody else's tables.
    fn denied(&self, error: tokio_postgres::Error) -> Failure {
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => self.lacks_rights(&in_full(&error)),
            Some(
                &SqlState::RAISE_EXCEPTION
                | &SqlState::WRONG_OBJECT_TYPE
                | &SqlState::DUPLICATE_TABLE
                | &SqlState::DUPLICATE_OBJECT,
            ) => self.refused(&format!("{}: {THEIRS}", in_full(&error))),
            _ => Failure::Client(error),
        }
    }

    pub(super) fn lacks_rights(&self, why: &str) -> Failure {
        self.refused(&format!(
            "{why}. Its owner makes it with what `PostgresStore::schema_sql` prints, and grants this user: GRANT USAGE ON SCHEMA \
             \"{name}\"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"{name}\"; and where PUBLIC may not by \
             default: GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"{name}\"",
            name = self.name
        ))
    }
}

/// Whether another process may have made the schema at the same time.
fn is_made_meanwhile(error: &tokio_postgres::Error) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::RAISE_EXCEPTION,
    ]
    .iter()
    .any(|code| error.code() == Some(code))
}

const THEIRS: &str = "what is there was not made by this library; choose another name: ?schema=NAME";

impl Statements {
    fn of(name: &str) -> Self {
        let asked = |what, is_repeatable, is_frequent, sql: &str| {
            let sql = of_schema(sql, name);
            Asked { what, sql, is_repeatable, is_frequent }
        };
        // Only the functions set a path: what is named outside of them is named with its schema, operators and types, too.
        // What only reads, or done twice is as done once; what would meet itself; and what operators ask.
        let again = |what, sql: &str| asked(what, true, true, sql);
        let once = |what, sql: &str| asked(what, false, true, sql);
        let rare = |what, sql: &str| asked(what, true, false, sql);
        let (record, end, dead) = (record_parameters(4), tombstone_parameters(19), tombstone_parameters);
        let list = |condition: &str| {
            let sql = format!(
                "SELECT {RECORD}, key, name FROM dewar.session WHERE {condition} key OPERATOR(pg_catalog.>) $1 \
                 AND NOT gone AND expires OPERATOR(pg_catalog.>) $2 ORDER BY key LIMIT $3"
            );
            rare("list", &sql)
        };
        Self {
            load: again(
                "load",
                &format!(
                    "SELECT {RECORD}, {LOADED} FROM dewar.session WHERE key OPERATOR(pg_catalog.=) $1 \
                     AND (expires OPERATOR(pg_catalog.>) $2 OR guarded_until OPERATOR(pg_catalog.>) $2)"
                ),
            ),
            create: once("create", &format!("SELECT * FROM dewar.create_1($1, $2, {record}, $18, {end}, $3)")),
            replace: once("replace", &format!("SELECT * FROM dewar.replace_1($1, $18, $2, {record}, $3)")),
            touch: again("touch", "SELECT * FROM dewar.touch_1($1, $2, $3, $4)"),
            delete: once("delete", &format!("SELECT * FROM dewar.delete_1($1, $2, $3, {}, $4)", dead(5))),
            rename: once(
                "rename",
                &format!("SELECT * FROM dewar.rename_1($25, $26, $1, $2, {record}, {}, $18, {end}, $3)", dead(27)),
            ),
            ping: rare("ping", PING),
            count: rare("count", "SELECT dewar.count_1($1)"),
            list: list(""),
            list_of: list("owner OPERATOR(pg_catalog.=) $4 AND"),
            epoch: rare("read the epoch", "SELECT dewar.epoch_1($1)"),
            revoke: rare("revoke", &format!("SELECT dewar.revoke_1($1, $2, $3, $4, {}, $5)", dead(6))),
            raise_everybodys: rare("raise everybody's epoch", "SELECT dewar.raise_everybodys_1($1)"),
            end_begun_before: rare(
                "end everybody's sessions",
                &format!("SELECT * FROM dewar.end_begun_before_1($1, $2, $3, {}, $4)", dead(5)),
            ),
            purge: rare("purge", "SELECT * FROM dewar.purge_1($1, $2)"),
            // Whoever was told so once is not told so again.
            claim_purge: asked("claim the purge", false, false, "SELECT dewar.claim_purge_1($1, $2)"),
            begin_to_listen: format!("LISTEN \"{name}:endings\""),
            go_on_listening: of_schema("SELECT dewar.listen_1($1)", name),
        }
    }
}

/// Looks into the table, and whether this user has every right that the page of the store names.
const PING: &str = "SELECT (SELECT true FROM (SELECT FROM dewar.session LIMIT 1) AS one), coalesce(pg_catalog.bool_and(has), false) FROM ( \
     SELECT pg_catalog.has_table_privilege(t.name, r.name) AS has \
     FROM pg_catalog.unnest(ARRAY['dewar.session', 'dewar.epoch', 'dewar.schema', 'dewar.turn']::pg_catalog.text[]) AS t (name), \
         pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']::pg_catalog.text[]) AS r (name) \
     UNION ALL SELECT pg_catalog.has_function_privilege(p.oid, 'EXECUTE'::pg_catalog.text) FROM pg_catalog.pg_proc p \
     WHERE p.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('dewar')::pg_catalog.oid \
         AND p.proname OPERATOR(pg_catalog.~~) '%\\_1'::pg_catalog.text) AS needed";

/// What is written of the schema `dewar`, of the one that is called so.
fn of_schema(sql: &str, name: &str) -> String {
    sql.replace("dewar.", &format!("\"{name}\"."))
        .replace("dewar:", &format!("{name}:"))
        .replace("to_regnamespace('dewar')", &format!("to_regnamespace('\"{name}\"')"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_schema_is_sql() {
        for name in ["", "Dewar", "a b", "a\"b", "a.b", "1a", "pg_temp", "a;b", "a$b", "é", &"a".repeat(49)] {
            assert!(Schema::default().named(name).is_err(), "{name}");
        }
        assert!(Schema::default().named("app_2").unwrap().sql().contains("CREATE TABLE \"app_2\".session"));
    }

    #[test]
    fn nothing_of_another_schema_is_in_the_sql_of_one() {
        let sql = Schema::default().named("other").unwrap().unlogged(true).sql();
        let code: Vec<_> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let left = code.iter().filter(|line| line.contains("dewar"));
        assert!(left.clone().all(|line| line.contains("RAISE EXCEPTION")), "{:?}", left.collect::<Vec<_>>());
        assert!(sql.contains("CREATE UNLOGGED TABLE \"other\".session"));
    }

    /// Else a stranger's function could be called for the server's.
    #[test]
    fn every_function_that_is_called_looks_up_names_in_the_servers_own_schema() {
        let of = Statements::of("dewar");
        let called = [
            &of.create,
            &of.replace,
            &of.touch,
            &of.delete,
            &of.rename,
            &of.count,
            &of.epoch,
            &of.revoke,
            &of.raise_everybodys,
            &of.end_begun_before,
            &of.purge,
            &of.claim_purge,
        ];
        for sql in called.iter().map(|asked| asked.sql.as_str()).chain([of.go_on_listening.as_str()]) {
            let (_, name) = sql.split_once("\"dewar\".").unwrap();
            let (name, _) = name.split_once('(').unwrap();
            let (_, function) = SQL.split_once(&format!("FUNCTION dewar.{name}(")).unwrap();
            let (declared, _) = function.split_once(" AS $$").unwrap();
            assert!(declared.ends_with("SET search_path = pg_catalog, pg_temp"), "{name}");
        }
    }
}
