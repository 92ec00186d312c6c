//! Redis and Redis Cluster beside their clients alone: `GET` of the same bytes, and the store's own script with the same arguments.

use std::rc::Rc;

use dewar::store::{Load, SessionStore, StoreKey, redis::RedisStore};
use redis::{
    Client as Server, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cmd,
};

use crate::{
    NOW,
    beside::{Client, Ours, Raw, SESSIONS, Side, interleave},
    fill, key, next, record,
};

pub(crate) async fn measure(url: &str) {
    let store = RedisStore::open(url).expect("a URL");
    let keys = fill(&store, SESSIONS).await;
    let server = Server::open(url).expect("a URL");
    let script = script_of(&store, std::slice::from_ref(&server)).await;
    let connection = server.get_connection_manager().await.expect("a server");
    interleave(&[
        &Ours { name: "redis".into(), store, keys: keys.clone() },
        &Raw {
            client: Redis::new(connection, script, &keys),
            load: "redis client: GET".into(),
            replace: "redis client: the same script".into(),
        },
    ])
    .await;
}

/// The same server over TCP, over TLS and with a replica that confirms each write: `name=address`, one a word.
pub(crate) async fn measure_ways(ways: &str) {
    let mut stores = Vec::new();
    for way in ways.split_whitespace() {
        let (name, url) = way.split_once('=').expect("name=address");
        stores.push((name, RedisStore::open(url).expect("a URL")));
    }
    let keys = fill(&stores[0].1, SESSIONS).await;
    let sides: Vec<_> = stores
        .into_iter()
        .map(|(name, store)| Ours { name: format!("redis, {name}"), store, keys: keys.clone() })
        .collect();
    interleave(&sides.iter().map(|side| side as &dyn Side).collect::<Vec<_>>()).await;
}

/// One server, and clusters of one node and more beside it: words of `host:port,host:port`, of which the first is the server. A cluster of one
/// node has as many connections and processes as the server has.
pub(crate) async fn measure_clusters(servers: &str) {
    let mut sides: Vec<Box<dyn Side>> = Vec::new();
    for (at, hosts) in servers.split_whitespace().enumerate() {
        let nodes: Vec<String> = hosts.split(',').map(|host| format!("redis://{host}")).collect();
        let servers: Vec<Server> = nodes.iter().map(|node| Server::open(&**node).expect("an address")).collect();
        let (name, url) = match at {
            0 => ("redis over TCP".to_owned(), nodes[0].clone()),
            _ => (format!("redis cluster, nodes: {}", nodes.len()), format!("redis+cluster://{hosts}")),
        };
        let store = RedisStore::open(&url).expect("an address");
        let keys = fill(&store, SESSIONS).await;
        let script = script_of(&store, &servers).await;
        let (load, replace) = (format!("{name}, client: GET"), format!("{name}, client: the same script"));
        let raw: Box<dyn Side> = if at == 0 {
            let connection = servers[0].get_connection_manager().await.expect("a server");
            Box::new(Raw { client: Redis::new(connection, script, &keys), load, replace })
        } else {
            let client = ClusterClient::new(nodes).expect("addresses");
            let connection = client.get_async_connection().await.expect("a cluster");
            Box::new(Raw { client: Redis::new(connection, script, &keys), load, replace })
        };
        sides.push(Box::new(Ours { name, store, keys }));
        sides.push(raw);
    }
    interleave(&sides.iter().map(|side| &**side).collect::<Vec<_>>()).await;
}

#[derive(Clone)]
struct Redis<C> {
    connection: C,
    script: Rc<str>,
    names: Rc<Vec<String>>,
}

impl<C> Redis<C> {
    fn new(connection: C, script: String, keys: &[StoreKey]) -> Self {
        Self { connection, script: script.into(), names: Rc::new(keys.iter().map(ToString::to_string).collect()) }
    }
}

struct Writer {
    name: String,
    digest: [u8; 32],
    record: Vec<u8>,
}

impl<C: ConnectionLike + Clone + 'static> Client for Redis<C> {
    type Error = RedisError;
    type Writer = Writer;

    async fn load(&mut self, at: usize) -> Result<(), RedisError> {
        let found: Vec<u8> = cmd("GET").arg(&self.names[at]).query_async(&mut self.connection).await?;
        assert!(found.len() > 240);
        Ok(())
    }

    async fn writer(&mut self, task: u64) -> Writer {
        let (key, name) = (key(task), key(task).to_string());
        let record = cmd("GET").arg(&name).query_async(&mut self.connection).await.expect("it is there");
        Writer { name, digest: key.digest(), record }
    }

    /// Replaces the record by itself: its version is in its bytes 2 to 10.
    async fn write(&mut self, writer: &mut Writer) -> Result<(), RedisError> {
        let mut command = cmd("EVALSHA");
        command.arg(&*self.script).arg(1).arg(&writer.name).arg(NOW.as_millis());
        command.arg(&writer.record[2..10]).arg(&writer.record[..]).arg(&writer.digest[..]).arg("");
        let done: i64 = command.query_async(&mut self.connection).await?;
        assert_eq!(done, 2);
        Ok(())
    }
}

/// The digest of the script that a replace runs, as a server's log of slow commands has it.
async fn script_of(store: &RedisStore, servers: &[Server]) -> String {
    let mut connections = Vec::new();
    for server in servers {
        let mut connection = server.get_multiplexed_async_connection().await.expect("a server");
        log_slower_than(&mut connection, 0).await;
        connections.push(connection);
    }
    // Each node of a cluster loads the script when it is first asked for it.
    for number in 0..64 {
        let key = key(number);
        let Ok(Load::Found(_, version)) = store.load(&key, NOW).await else { panic!("missing") };
        store.replace(&key, version, next(), record(), NOW).await.expect("the store failed");
    }
    let mut script = None;
    for connection in &mut connections {
        // Number, time, duration, words, who.
        type Entry = (Value, Value, Value, Vec<Vec<u8>>, Value, Value);
        let log: Vec<Entry> = cmd("SLOWLOG").arg("GET").arg(128).query_async(connection).await.expect("a log");
        let of_script = log.iter().find(|(_, _, _, words, ..)| words[0] == b"EVALSHA");
        script = script.or(of_script.and_then(|(_, _, _, words, ..)| String::from_utf8(words[1].clone()).ok()));
        log_slower_than(connection, 10_000).await;
    }
    script.expect("the store runs a script")
}

/// From here on.
async fn log_slower_than(connection: &mut MultiplexedConnection, microseconds: u32) {
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("slowlog-log-slower-than").arg(microseconds);
    set.exec_async(connection).await.expect("a setting");
    cmd("SLOWLOG").arg("RESET").exec_async(connection).await.expect("a log");
}
