//! On MySQL and MariaDB.

use std::time::Duration;

use crate::support::{mysql_server::Server, races};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn ten_thousand_requests_at_once_lose_nothing_on_mysql() {
    let server = Server::start(&[]).await;
    // They wait for each other at the pool, on whatever machine this runs.
    let store = server.store().time_limit(Duration::from_secs(60));
    races::crowd(races::manager(store), 10_000).await;
}
