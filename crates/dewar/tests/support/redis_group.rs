//! A primary, two replicas and three sentinels that exchange the primary where it fails.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::redis_server::Server;

pub(crate) struct Group {
    /// The first was the primary at the start.
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Group {
    pub(crate) async fn start() -> Self {
        Self::with(&[], &[], "").await
    }

    /// Starts it with these settings of the servers and the sentinels, and these lines of the sentinels.
    pub(crate) async fn with(servers: &[&str], sentinels: &[&str], lines: &str) -> Self {
        let primary = Server::start(servers);
        let of = ["--replicaof", &primary.host_and_port()];
        let of: Vec<&str> = of.into_iter().chain(servers.iter().copied()).collect();
        let servers = vec![primary, Server::start(&of), Server::start(&of)];
        let settings = format!(
            "sentinel monitor live {} 2\nsentinel down-after-milliseconds live 1000\nsentinel failover-timeout live 2000\nsentinel parallel-syncs live 2\n{lines}",
            servers[0].host_and_port()
        );
        let sentinels = (0..3).map(|_| Server::sentinel(sentinels, &settings)).collect();
        Self { servers, sentinels }
    }

    /// Waits until every sentinel knows of all others, and the replicas have what the primary has.
    pub(crate) async fn is_whole(&self, login: &str) {
        let start = Instant::now();
        for sentinel in &self.sentinels {
            while !knows_all(sentinel, login).await {
                assert!(start.elapsed() < Duration::from_secs(30), "the sentinels do not find each other");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until exactly one is the primary, the first or not, and returns which.
    pub(crate) async fn primary(&self, of: &[usize]) -> usize {
        let start = Instant::now();
        loop {
            let mut primaries = Vec::new();
            for at in of {
                if role(&self.servers[*at]).await == "master" {
                    primaries.push(*at);
                }
            }
            if let [primary] = primaries[..] {
                return primary;
            }
            // Sentinels on a busy machine put an election off.
            assert!(start.elapsed() < Duration::from_secs(90), "{} primaries", primaries.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/live`
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis+sentinel://{}/live", hosts.join(","))
    }
}

/// `master` or `slave`; nothing where it does not answer.
pub(crate) async fn role(server: &Server) -> String {
    let ask = async {
        let mut client = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
        redis::cmd("INFO").arg("replication").query_async::<String>(&mut client).await
    };
    let says = ask.await.unwrap_or_default();
    says.lines().find_map(|line| line.strip_prefix("role:")).unwrap_or_default().to_owned()
}

async fn knows_all(sentinel: &Server, login: &str) -> bool {
    let url = sentinel.url().replace("redis://", &format!("redis://{login}"));
    let ask = async {
        let mut client = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("MASTER").arg("live");
        ask.query_async::<HashMap<String, String>>(&mut client).await
    };
    ask.await.is_ok_and(|says| ["num-slaves", "num-other-sentinels"].iter().all(|name| says[*name] == "2"))
}
