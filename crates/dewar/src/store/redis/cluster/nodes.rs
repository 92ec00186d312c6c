//! The nodes of a cluster: which of them has a slot, and how a command finds it.
//!
//! The cluster connection of the crate `redis` sends a command again whose answer was lost. A script that is done twice may meet itself, so the
//! redirections are followed here, and what may have been done is sent once.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ServerErrorKind, ToRedisArgs, Value, aio::ConnectionManager, cmd, pipe,
};

use super::super::{
    connection::{failed, settings},
    tls::{self, Certificates},
};
use crate::store::{StoreError, Timestamp};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// How long a command waits for a slot that nobody serves: while another node takes it over, as a rule.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a node may take to say who has which slot.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// The slots are asked for at most this often.
const REFRESHED_EVERY: Duration = Duration::from_millis(50);

/// So many redirections are followed at once; the next ones wait a little.
const REDIRECTIONS: u32 = 5;

#[derive(Clone)]
pub(super) struct Nodes {
    shared: Arc<Shared>,
    limit: Duration,
}

struct Shared {
    seeds: Vec<ConnectionInfo>,
    certificates: Option<Certificates>,
    state: Mutex<State>,
    /// Whoever holds it asks for the slots.
    refreshing: tokio::sync::Mutex<()>,
}

struct State {
    map: Arc<Map>,
    is_stale: bool,
    refreshed: Option<Instant>,
    connections: HashMap<Address, ConnectionManager>,
}

/// Which primary has which slot.
pub(super) struct Map {
    primaries: Vec<Address>,
    /// An index into the primaries, or [`NOBODY`].
    slots: Box<[u16]>,
}

const NOBODY: u16 = u16::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    host: Arc<str>,
    port: u16,
}

/// A command on one key, or a script on it.
pub(super) struct Call {
    command: Cmd,
    script: Option<&'static Script>,
    slot: u16,
    /// Done twice it is as done once.
    is_repeatable: bool,
}

impl Call {
    /// Changes nothing.
    pub(super) fn read(key: &str, command: Cmd) -> Self {
        Self { command, script: None, slot: slot_of(key.as_bytes()), is_repeatable: true }
    }

    /// A script on one key. The first argument is now.
    pub(super) fn script(script: &'static LazyLock<Script>, key: &str, now: Timestamp) -> Self {
        Self::on(script, &[key], now)
    }

    /// A script on keys of one slot.
    pub(super) fn on(script: &'static LazyLock<Script>, keys: &[&str], now: Timestamp) -> Self {
        let mut command = cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(now.as_millis());
        Self { command, script: Some(script), slot: slot_of(keys[0].as_bytes()), is_repeatable: false }
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    pub(super) fn repeatable(self) -> Self {
        Self { is_repeatable: true, ..self }
    }

    async fn send(&self, node: &mut ConnectionManager, asks: bool) -> RedisResult<Value> {
        let answer = self.send_once(node, asks).await;
        match (&answer, self.script) {
            (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(node).await?;
                self.send_once(node, asks).await
            }
            _ => answer,
        }
    }

    async fn send_once(&self, node: &mut ConnectionManager, asks: bool) -> RedisResult<Value> {
        if !asks {
            return self.command.query_async(node).await;
        }
        // In one piece: whatever else is sent on this connection would take it.
        let mut both = pipe();
        both.cmd("ASKING").add_command(self.command.clone());
        let answer = node.send_packed_commands(&both, 1, 1).await?.pop();
        answer.unwrap_or(Value::Nil).extract_error()
    }
}

impl Nodes {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, certificates: Option<Certificates>, limit: Duration) -> Self {
        let map = Arc::new(Map { primaries: Vec::new(), slots: vec![NOBODY; SLOTS].into() });
        let state = State { map, is_stale: true, refreshed: None, connections: HashMap::new() };
        let shared =
            Shared { seeds, certificates, state: Mutex::new(state), refreshing: tokio::sync::Mutex::default() };
        Self { shared: Arc::new(shared), limit }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Asks the node that has the key's slot.
    ///
    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the node refused.
    pub(super) async fn ask<T: FromRedisValue>(&self, what: &str, call: Call) -> Result<T, StoreError> {
        let answer = self.within_limit(what, self.attempts(&call)).await?;
        redis::from_redis_value(answer).map_err(|error| failed(what)(error.into()))
    }

    /// Asks one node what it alone can say.
    pub(super) async fn ask_node<T: FromRedisValue>(
        &self,
        what: &str,
        node: &Address,
        reads: &Pipeline,
    ) -> Result<T, StoreError> {
        let asked = async {
            let mut node = self.shared.connection(node)?;
            match reads.query_async(&mut node).await {
                // A lost connection is noticed by who asks next.
                Err(error) if error.is_io_error() => reads.query_async(&mut node).await,
                answer => answer,
            }
        };
        self.within_limit(what, asked).await
    }

    /// Who has which slot, as the cluster says now.
    pub(super) async fn map(&self) -> Result<Arc<Map>, StoreError> {
        {
            let mut state = self.shared.lock();
            (state.is_stale, state.refreshed) = (true, None);
        }
        self.within_limit("ask for the slots", self.shared.refresh()).await
    }

    /// A client for a connection of its own to one of the nodes.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        let map = self.shared.refresh().await?;
        let node = map.primaries.get(rand::random_range(..map.primaries.len().max(1)));
        let node = node.ok_or_else(|| RedisError::from((ErrorKind::Client, "the cluster has no primary")))?;
        self.shared.client(node)
    }

    async fn within_limit<T>(&self, what: &str, asked: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.limit, asked).await {
            Ok(Err(error)) if error.is_io_error() => {
                let seeds: Vec<String> = self.shared.seeds.iter().map(|seed| seed.addr().to_string()).collect();
                Err(failed(&format!("{what}: {}", seeds.join(", ")))(error))
            }
            Ok(answer) => answer.map_err(failed(what)),
            Err(_) => {
                // A node that says nothing may have been replaced.
                self.shared.lock().is_stale = true;
                Err(StoreError::new(format!("redis: cannot {what}: no answer within {:?}", self.limit)))
            }
        }
    }

    async fn attempts(&self, call: &Call) -> RedisResult<Value> {
        use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
        let mut redirection = None;
        let mut patience = Patience::default();
        loop {
            let (node, asks) = match redirection.take() {
                Some(redirection) => redirection,
                None => match self.shared.primary_of(call.slot).await {
                    Ok(node) => (node, false),
                    Err(error) if patience.waits().await => {
                        drop(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let answer = call.send(&mut self.shared.connection(&node)?, asks).await;
            let Err(error) = answer else { return answer };
            let goes_on = match error.kind() {
                ErrorKind::Server(kind @ (Moved | Ask)) => {
                    let Some(to) = node.redirected(&error) else { return Err(error) };
                    if kind == Moved {
                        self.shared.moved(call.slot, &to);
                    }
                    redirection = Some((to, kind == Ask));
                    patience.follows().await
                }
                // A slot on its way, whose keys are in two places: until the time limit.
                ErrorKind::Server(TryAgain) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    true
                }
                ErrorKind::Server(ReadOnly | BusyLoading | MasterDown | ClusterDown) => {
                    self.shared.lock().is_stale = true;
                    patience.waits().await
                }
                _ if error.is_connection_refusal() || call.is_repeatable && error.is_io_error() => {
                    self.shared.lock().is_stale = true;
                    patience.waits().await
                }
                _ if error.is_io_error() => {
                    self.shared.lock().is_stale = true;
                    false
                }
                _ => false,
            };
            if !goes_on {
                return Err(error);
            }
        }
    }
}

/// How long somebody has waited already.
#[derive(Default)]
struct Patience {
    begun: Option<Instant>,
    pauses: u32,
    redirections: u32,
}

impl Patience {
    /// Waits a little, and longer each time. `false`: it has been too long.
    async fn waits(&mut self) -> bool {
        if self.begun.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return false;
        }
        let pause = Duration::from_millis(10 << self.pauses.min(4));
        self.pauses += 1;
        tokio::time::sleep(pause.mul_f32(rand::random_range(0.5..1.0))).await;
        true
    }

    async fn follows(&mut self) -> bool {
        self.redirections += 1;
        if self.redirections.is_multiple_of(REDIRECTIONS) { self.waits().await } else { true }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn primary_of(&self, slot: u16) -> RedisResult<Address> {
        let known = {
            let state = self.lock();
            if state.is_stale { None } else { state.map.primary_of(slot).cloned() }
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let map = self.refresh().await?;
        let nobody = || RedisError::from((ServerErrorKind::ClusterDown.into(), "no node has the slot of this session"));
        map.primary_of(slot).cloned().ok_or_else(|| {
            self.lock().is_stale = true;
            nobody()
        })
    }

    fn moved(&self, slot: u16, to: &Address) {
        let mut state = self.lock();
        let mut map = Map { primaries: state.map.primaries.clone(), slots: state.map.slots.clone() };
        map.set(slot, slot, to.clone());
        state.map = Arc::new(map);
    }

    fn connection(&self, node: &Address) -> RedisResult<ConnectionManager> {
        let mut state = self.lock();
        if let Some(connection) = state.connections.get(node) {
            return Ok(connection.clone());
        }
        let connection = ConnectionManager::new_lazy_with_config(self.client(node)?, settings())?;
        state.connections.insert(node.clone(), connection.clone());
        Ok(connection)
    }

    fn client(&self, node: &Address) -> RedisResult<Client> {
        tls::client(self.info(node), self.certificates.as_ref())
    }

    /// As the first address says, at this node.
    fn info(&self, node: &Address) -> ConnectionInfo {
        let info = self.seeds[0].clone();
        let (host, port) = (node.host.to_string(), node.port);
        let address = match info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) | _ => ConnectionAddr::Tcp(host, port),
        };
        info.set_addr(address)
    }

    /// Asks the nodes one after another who has which slot, until one says so.
    async fn refresh(&self) -> RedisResult<Arc<Map>> {
        let _turn = self.refreshing.lock().await;
        let known = {
            let mut state = self.lock();
            let is_new = state.refreshed.is_some_and(|at| at.elapsed() < REFRESHED_EVERY);
            if !state.is_stale || is_new && !state.map.primaries.is_empty() {
                return Ok(Arc::clone(&state.map));
            }
            state.refreshed = Some(Instant::now());
            state.map.primaries.clone()
        };
        let seeds = self.seeds.iter().filter_map(|seed| Address::of(seed.addr()));
        let mut nodes: Vec<Address> = known;
        let at = rand::random_range(..nodes.len().max(1));
        nodes.rotate_left(at);
        for seed in seeds {
            if !nodes.contains(&seed) {
                nodes.push(seed);
            }
        }
        let mut last = RedisError::from((ErrorKind::Client, "the cluster has no node"));
        for node in nodes {
            match self.slots_from(&node).await {
                Ok(map) => {
                    let map = Arc::new(map);
                    let mut state = self.lock();
                    state.connections.retain(|node, _| map.primaries.contains(node));
                    state.is_stale = false;
                    state.map = Arc::clone(&map);
                    return Ok(map);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn slots_from(&self, node: &Address) -> RedisResult<Map> {
        let mut connection = self.connection(node)?;
        let mut ask = cmd("CLUSTER");
        ask.arg("SLOTS");
        let asked = tokio::time::timeout(ASKED_FOR, ask.query_async(&mut connection)).await;
        let answer: Value = match asked {
            Ok(Err(error)) if error.detail().is_some_and(|detail| detail.contains("cluster support disabled")) => {
                return Err(RedisError::from((
                    ErrorKind::InvalidClientConfig,
                    "this server is no node of a cluster: write redis:// in the place of redis+cluster://",
                )));
            }
            Ok(answer) => answer?,
            Err(_) => return Err(RedisError::from((ErrorKind::Io, "a node does not say who has which slot"))),
        };
        Map::read(&answer, node)
            .filter(|map| !map.primaries.is_empty())
            .ok_or_else(|| RedisError::from((ErrorKind::Parse, "a node says in no known way who has which slot")))
    }
}

impl Map {
    pub(super) fn primaries(&self) -> &[Address] {
        &self.primaries
    }

    /// Whether each slot is at the same node.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (0..SLOTS as u16).all(|slot| self.primary_of(slot) == other.primary_of(slot))
    }

    fn primary_of(&self, slot: u16) -> Option<&Address> {
        self.primaries.get(usize::from(self.slots[usize::from(slot)]))
    }

    fn set(&mut self, first: u16, last: u16, primary: Address) {
        let at = self.primaries.iter().position(|known| *known == primary).unwrap_or_else(|| {
            self.primaries.push(primary);
            self.primaries.len() - 1
        });
        self.slots[usize::from(first)..=usize::from(last)].fill(at as u16);
    }

    /// What `CLUSTER SLOTS` says: first, last, the primary, its replicas.
    fn read(answer: &Value, asked: &Address) -> Option<Self> {
        let mut map = Self { primaries: Vec::new(), slots: vec![NOBODY; SLOTS].into() };
        let Value::Array(ranges) = answer else { return None };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..] else { return None };
            let [host, Value::Int(port), ..] = &primary[..] else { return None };
            let host = match host {
                Value::BulkString(host) => std::str::from_utf8(host).ok()?,
                _ => "",
            };
            // A node that does not know its own name is the one that was asked.
            let host = if ["", "?"].contains(&host) { Arc::clone(&asked.host) } else { host.into() };
            let primary = Address { host, port: u16::try_from(*port).ok()? };
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            if usize::from(last) >= SLOTS || first > last {
                return None;
            }
            map.set(first, last, primary);
        }
        Some(map)
    }
}

impl Address {
    fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self { host: host.as_str().into(), port: *port })
            }
            _ => None,
        }
    }

    /// Where a node sends us: `host:port`, or `:port` on the same host.
    fn redirected(&self, error: &RedisError) -> Option<Self> {
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" { Arc::clone(&self.host) } else { host.into() };
        Some(Self { host, port: port.parse().ok()? })
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The slot of a key: CRC-16/XMODEM of it, or of what stands in its first braces, as the cluster's specification says.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close])
    });
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    hashed.iter().fold(0, |crc: u16, byte| crc << 8 ^ CRC[usize::from(crc >> 8) ^ usize::from(*byte)]) % SLOTS as u16
}

/// A tag of this slot: the smallest number that is in it.
pub(super) fn tag_of(slot: u16) -> u32 {
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let mut tags = vec![u32::MAX; SLOTS];
        let mut left = SLOTS;
        for number in 0.. {
            let tag = &mut tags[usize::from(slot_of(number.to_string().as_bytes()))];
            if *tag == u32::MAX {
                (*tag, left) = (number, left - 1);
            }
            if left == 0 {
                break;
            }
        }
        tags
    });
    TAGS[usize::from(slot)]
}

static CRC: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_what_the_specification_and_redis_say() {
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        // CLUSTER KEYSLOT of Redis 7.
        for (key, slot) in
            [("foo", 12182), ("{user1000}.following", 3443), ("foo{}{bar}", 8363), ("foo{{bar}}zap", 4015)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert!([0, 4_711, 16_383].iter().all(|slot| slot_of(tag_of(*slot).to_string().as_bytes()) == *slot));
    }
}
