//! `serve-towers tower-sessions-postgres|tower-sessions-sqlite|tower-sessions-redis <port>`, on one thread. They ask for
//! POSTGRES_URL, SQLITE_FILE and REDIS_URL.

use axum::Router;
use fred::prelude::{ClientLike, Config, Pool};
use sqlx::{
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::net::TcpListener;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore};

#[path = "../../../peers/src/session.rs"]
mod session;
// Its memory() is measured with the newest tower-sessions, in the other workspace.
#[allow(dead_code)]
#[path = "../../../peers/src/towers.rs"]
mod towers;

use session::session;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(peer), Some(port)) = (arguments.next(), arguments.next()) else { panic!("serve-towers <peer> <port>") };
    let app = match &*peer {
        "tower-sessions-postgres" => postgres().await,
        "tower-sessions-sqlite" => sqlite().await,
        "tower-sessions-redis" => redis().await,
        _ => panic!("{peer} is not served here"),
    };
    let port: u16 = port.parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    axum::serve(listener, app).await.expect("a listener");
}

/// As many connections as dewar's. SQLx pings one before each use, which is its default.
async fn postgres() -> Router {
    let pool = PgPoolOptions::new().max_connections(16).connect(&setting("POSTGRES_URL")).await.expect("a server");
    let store = PostgresStore::new(pool);
    store.migrate().await.expect("a schema of its own");
    towers::app(store)
}

/// Durable as dewar's: SQLx's own default is `synchronous=FULL` without WAL.
async fn sqlite() -> Router {
    let options = SqliteConnectOptions::new()
        .filename(setting("SQLITE_FILE"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().connect_with(options).await.expect("a file");
    let store = SqliteStore::new(pool);
    store.migrate().await.expect("a new file");
    towers::app(store)
}

/// One connection, as the other peers on Redis have.
async fn redis() -> Router {
    let config = Config::from_url(&setting("REDIS_URL")).expect("a URL");
    let pool = Pool::new(config, None, None, None, 1).expect("a pool");
    pool.init().await.expect("a server");
    towers::app(RedisStore::new(pool))
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
