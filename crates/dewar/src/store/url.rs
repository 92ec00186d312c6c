//! A store by its address: the one line that a configuration holds.

use super::{AnyStore, StoreError, memory::MemoryStore};

/// Opens the store at this address.
///
/// | address | store |
/// | --- | --- |
/// | `memory:` | this process's memory; `memory:?max_entries=10000&max_bytes=67108864` bounds it |
/// | `sqlite:FILE` | an SQLite file, made where it is missing: `sqlite:sessions.db`, `sqlite:///var/lib/site/sessions.db` |
/// | `postgres://HOST/DATABASE` | PostgreSQL |
/// | `mysql://HOST/DATABASE`, `mariadb:` | MySQL, MariaDB |
/// | `redis://HOST`, `valkey:`, `redis+unix:` | Redis or Valkey; over TLS `rediss:` and `valkeys:` |
/// | `redis+sentinel://HOST,HOST/SERVICE` | the primary that sentinels name; over TLS `rediss+sentinel:` |
/// | `redis+cluster://HOST,HOST` | a Redis Cluster; over TLS `rediss+cluster:` |
/// | `files:FOLDER` | PHP's session files, for PHP's sessions alone; `files:/var/lib/php/sessions?depth=2&gc_maxlifetime=1440` |
///
/// What else an address may say is on the page of each store. A server is connected to when it is first asked: [`ping`](super::SessionStore::ping) says whether it is there.
///
/// `sqlite::memory:` is refused, and so is whatever else is no file to SQLite: it is `memory:`.
///
/// Call it when the application starts, within its runtime: SQLite waits for the disk here.
///
/// # Errors
///
/// Where the address cannot be read, the feature it needs is not enabled, or the file cannot be
/// opened. A password in the address is never in the message.
///
/// ```
/// use dewar::store;
///
/// let store = store::open("memory:?max_entries=10000")?;
/// # Ok::<(), store::StoreError>(())
/// ```
pub fn open(url: &str) -> Result<AnyStore, StoreError> {
    const KNOWN: &str = "a store's address begins with memory:, sqlite:, postgres:, mysql:, redis:, redis+sentinel:, redis+cluster: or files:";
    let is_path =
        url.starts_with(['/', '.']) || url.split_once(':').is_none_or(|(scheme, _)| scheme.contains(['/', ';']));
    if is_path {
        let hint = "; for an SQLite file write sqlite:FILE, for PHP's session.save_path files:FOLDER";
        return Err(StoreError::new(format!("{KNOWN}{hint}")));
    }
    let Some((scheme, rest)) = url.split_once(':') else { return Err(StoreError::new(KNOWN)) };
    let kind = scheme.split_once('+').map_or(scheme, |(kind, _)| kind);
    match kind {
        "memory" if kind == scheme => memory(rest).map(AnyStore::Memory),
        "sqlite" if kind == scheme => sqlite(rest),
        "postgres" | "postgresql" if kind == scheme => postgres(url),
        "mysql" | "mariadb" if kind == scheme => mysql(url),
        "redis" | "rediss" | "unix" | "valkey" | "valkeys" => redis(url),
        "files" if kind == scheme => files(rest),
        _ => Err(StoreError::new(format!("{KNOWN}, and not with another scheme"))),
    }
}

fn memory(rest: &str) -> Result<MemoryStore, StoreError> {
    let mut store = MemoryStore::new();
    let Some(settings) = rest.strip_prefix('?') else {
        return if rest.is_empty() { Ok(store) } else { Err(StoreError::new("memory: has no path, only settings")) };
    };
    for setting in settings.split('&') {
        let parsed = setting.split_once('=').and_then(|(name, value)| Some((name, value.parse::<usize>().ok()?)));
        store = match parsed {
            Some(("max_entries", count)) if count > 0 => store.max_entries(count),
            Some(("max_bytes", bytes)) if bytes > 0 => store.max_bytes(bytes),
            _ => {
                let message = format!("memory: cannot read {setting:?}: expected max_entries=N or max_bytes=N");
                return Err(StoreError::new(message));
            }
        };
    }
    Ok(store)
}

#[cfg(feature = "sqlite")]
fn sqlite(rest: &str) -> Result<AnyStore, StoreError> {
    let file = rest.strip_prefix("//").unwrap_or(rest);
    super::sqlite::check_name(file.as_ref())?;
    if file.contains('?') {
        return Err(StoreError::new("sqlite: the URL is sqlite: and a file, without settings: sqlite:sessions.db"));
    }
    super::sqlite::SqliteStore::open(file).map(AnyStore::Sqlite)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_rest: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new("the feature `sqlite` is not enabled: cargo add dewar --features sqlite"))
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<AnyStore, StoreError> {
    super::redis::RedisStore::open(url).map(AnyStore::Redis)
}

#[cfg(not(feature = "redis"))]
fn redis(url: &str) -> Result<AnyStore, StoreError> {
    let has_tls = url.starts_with("rediss") || url.starts_with("valkeys");
    let feature = if has_tls { "redis-tls" } else { "redis" };
    Err(StoreError::new(format!("the feature `{feature}` is not enabled: cargo add dewar --features {feature}")))
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Result<AnyStore, StoreError> {
    super::postgres::PostgresStore::open(url).map(AnyStore::Postgres)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_url: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new("the feature `postgres` is not enabled: cargo add dewar --features postgres"))
}

#[cfg(feature = "mysql")]
fn mysql(url: &str) -> Result<AnyStore, StoreError> {
    super::mysql::MysqlStore::open(url).map(AnyStore::Mysql)
}

#[cfg(not(feature = "mysql"))]
fn mysql(_url: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new("the feature `mysql` is not enabled: cargo add dewar --features mysql"))
}

#[cfg(all(feature = "php", unix))]
fn files(rest: &str) -> Result<AnyStore, StoreError> {
    super::files::FilesStore::of_address(rest).map(AnyStore::Files)
}

#[cfg(not(all(feature = "php", unix)))]
fn files(_rest: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new(
        "the feature `php` is not enabled: cargo add dewar --features php (PHP's session files are for Unix alone)",
    ))
}
