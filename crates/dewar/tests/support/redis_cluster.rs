//! A Redis Cluster of a test's own: three primaries with a replica each, on free ports, stopped at the end.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use dewar::store::redis::RedisStore;
use redis::{Connection, Value};

use super::stores::Directory;

/// After so many milliseconds without an answer a primary counts as failed.
pub(crate) const NODE_TIMEOUT: u64 = 1_000;

const SLOTS: u16 = 16_384;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

/// The first three nodes begin as primaries; the replica of each is three further on.
pub(crate) struct Node {
    directory: Directory,
    child: Child,
    arguments: Vec<String>,
    port: u16,
    bus: u16,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these settings beside our own.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        // All at once, so that none is given twice.
        let listeners: Vec<TcpListener> = (0..12).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let nodes = ports.chunks(2).map(|ports| Node::start(ports[0], ports[1], arguments)).collect();
        let cluster = Self { nodes };
        cluster.join();
        cluster
    }

    fn join(&self) {
        for node in &self.nodes {
            node.wait();
        }
        let mut first = self.nodes[0].connect();
        for (at, node) in self.nodes[..3].iter().enumerate() {
            let at = at as u16;
            let (from, to) = (SLOTS / 3 * at, if at == 2 { SLOTS - 1 } else { SLOTS / 3 * (at + 1) - 1 });
            let mut connection = node.connect();
            order(&mut connection, &format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            order(&mut connection, &format!("CLUSTER ADDSLOTSRANGE {from} {to}"));
        }
        for node in &self.nodes[1..] {
            order(&mut first, &format!("CLUSTER MEET 127.0.0.1 {} {}", node.port, node.bus));
        }
        self.until("all nodes know each other", || {
            self.nodes.iter().all(|node| text(&mut node.connect(), "CLUSTER NODES").lines().count() == self.nodes.len())
        });
        for (primary, replica) in self.nodes[..3].iter().zip(&self.nodes[3..]) {
            let id = text(&mut primary.connect(), "CLUSTER MYID");
            order(&mut replica.connect(), &format!("CLUSTER REPLICATE {id}"));
        }
        self.is_whole();
    }

    /// Waits until every slot is served, and each primary has a replica that follows it.
    pub(crate) fn is_whole(&self) {
        self.until("the cluster is whole", || {
            self.nodes.iter().all(|node| {
                let mut connection = node.connect();
                let info = text(&mut connection, "CLUSTER INFO");
                let role = text(&mut connection, "INFO replication");
                let is_linked = role.contains("master_link_status:up") || role.contains("connected_slaves:1");
                info.contains("cluster_state:ok") && is_linked
            })
        });
    }

    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(30), "not within 30 seconds: {what}");
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes[..3].iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub(crate) fn open(&self) -> RedisStore {
        RedisStore::open(&self.url()).unwrap()
    }

    pub(crate) fn node_at(&self, port: u16) -> &Node {
        self.nodes.iter().find(|node| node.port == port).unwrap()
    }

    /// The ports of the primaries, and which slots they have, as a node that runs says.
    pub(crate) fn primaries(&self) -> Vec<(u16, u16, u16)> {
        let mut nodes = self.nodes.iter().filter_map(Node::try_connect);
        let mut ask = redis::cmd("CLUSTER");
        let Value::Array(ranges) = ask.arg("SLOTS").query::<Value>(&mut nodes.next().unwrap()).unwrap() else {
            panic!()
        };
        let range = |range: Value| {
            let Value::Array(range) = range else { panic!() };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..] else { panic!() };
            let Value::Int(port) = primary[1] else { panic!() };
            (*first as u16, *last as u16, port as u16)
        };
        ranges.into_iter().map(range).collect()
    }

    pub(crate) fn slot(&self, key: &str) -> u16 {
        let mut ask = redis::cmd("CLUSTER");
        ask.arg("KEYSLOT").arg(key).query(&mut self.nodes[0].connect()).unwrap()
    }

    /// The port of the primary that has this key.
    pub(crate) fn primary_of(&self, key: &str) -> u16 {
        let slot = self.slot(key);
        self.primaries().into_iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap().2
    }

    /// A connection to the node that has this key.
    pub(crate) fn connection_of(&self, key: &str) -> Connection {
        self.node_at(self.primary_of(key)).connect()
    }

    /// `kill -9` of the node at this port.
    pub(crate) fn kill(&mut self, port: u16) {
        self.nodes.iter_mut().find(|node| node.port == port).unwrap().kill();
    }

    /// Moves a slot to another primary as `redis-cli --cluster reshard` does, `count` keys at once.
    pub(crate) fn migrate(&self, slot: u16, from: u16, to: u16, count: usize) {
        let (mut source, mut target) = (self.node_at(from).connect(), self.node_at(to).connect());
        let ids = [text(&mut source, "CLUSTER MYID"), text(&mut target, "CLUSTER MYID")];
        order(&mut target, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]));
        order(&mut source, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]));
        loop {
            let mut ask = redis::cmd("CLUSTER");
            ask.arg("GETKEYSINSLOT").arg(slot).arg(count);
            let keys: Vec<String> = ask.query(&mut source).unwrap();
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(to).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
            migrate.query::<Value>(&mut source).unwrap();
        }
        order(&mut target, &format!("CLUSTER SETSLOT {slot} NODE {}", ids[1]));
        order(&mut source, &format!("CLUSTER SETSLOT {slot} NODE {}", ids[1]));
    }
}

impl Node {
    fn start(port: u16, bus: u16, arguments: &[&str]) -> Self {
        let directory = Directory::new();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).into()).collect();
        let child = spawn(&directory, port, bus, &arguments);
        Self { directory, child, arguments, port, bus }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn try_connect(&self) -> Option<Connection> {
        redis::Client::open(self.url()).unwrap().get_connection_with_timeout(Duration::from_secs(2)).ok()
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().expect("a node takes a connection")
    }

    /// Until it answers, as the process that was started.
    fn wait(&self) {
        let start = Instant::now();
        loop {
            if let Some(mut connection) = self.try_connect() {
                let info = text(&mut connection, "INFO server");
                let id = info.lines().find_map(|line| line.strip_prefix("process_id:"));
                assert_eq!(id, Some(&*self.child.id().to_string()), "another server answers on this port");
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "redis-server does not answer");
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port and files.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.directory, self.port, self.bus, &self.arguments);
        self.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn order(connection: &mut Connection, command: &str) {
    ask::<Value>(connection, command);
}

fn text(connection: &mut Connection, command: &str) -> String {
    ask(connection, command)
}

/// `CLUSTER INFO`
pub(crate) fn ask<T: redis::FromRedisValue>(connection: &mut Connection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut ask = redis::cmd(words.next().unwrap());
    ask.arg(words.collect::<Vec<_>>());
    ask.query(connection).unwrap_or_else(|error| panic!("{command}: {error}"))
}

fn spawn(directory: &Directory, port: u16, bus: u16, arguments: &[String]) -> Child {
    let timeout = NODE_TIMEOUT.to_string();
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--cluster-port", &bus.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", &timeout])
        .args(["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"])
        .args(["--cluster-require-full-coverage", "no"])
        .arg("--dir")
        .arg(directory.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server can be started")
}
