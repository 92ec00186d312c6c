//! `serve <peer> <port>`: an application of `peers` on one thread. `postgres` asks for POSTGRES_URL, `sqlite` for SQLITE_FILE, `redis` for
//! REDIS_URL.

use axum::Router;
use dewar::store::{postgres::PostgresStore, redis::RedisStore, sqlite::SqliteStore};
use peers::Peer;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(peer), Some(port)) = (arguments.next(), arguments.next()) else { panic!("serve <peer> <port>") };
    let app = app(&peer).await;
    let port: u16 = port.parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    axum::serve(listener, app).await.expect("a listener");
}

async fn app(peer: &str) -> Router {
    match peer {
        "postgres" => {
            let store = PostgresStore::open(&setting("POSTGRES_URL")).expect("an address");
            peers::dewar(|layer| layer.store(store))
        }
        "sqlite" => {
            let store = SqliteStore::open(setting("SQLITE_FILE")).expect("a file");
            peers::dewar(|layer| layer.store(store))
        }
        "redis" => {
            let store = RedisStore::open(&setting("REDIS_URL")).expect("a URL");
            peers::dewar(|layer| layer.store(store))
        }
        "axum-session" => peers::axum_session().await,
        _ => Peer::called(peer).expect("a peer").app(),
    }
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
