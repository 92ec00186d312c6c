//! Sessions in Redis 7 or Valkey: for a site of several machines.
//!
//! One key holds a session: `dewar:` and 43 characters, a string with a TTL, so the server itself
//! lets expired sessions go. Every verb is one round trip.
//! It is one server, with or without replicas, or [a cluster](#a-cluster).
//!
//! How much a crash of the server loses is the server's setting: nothing that was confirmed with
//! `appendonly yes` and `appendfsync always`, up to a second of it with `everysec`, and all since
//! the last snapshot without an append-only file; a fail-over may lose what the replica had not
//! yet received.
//!
//! Records of another framework are strings with a TTL that hold what its layout says and nothing else, as `SET key value EX seconds` leaves them; their
//! tombstones are keys of their own, `dewar-ended:{name}`.
//!
//! `count`, `list` of everybody and `revoke_everyone` go through all keys of the database (`SCAN`), each page anew:
//! they are for an operator, not for a request. `list` of a principal reads an index, and costs
//! what that person has of sessions.
//!
//! # A cluster
//!
//! `redis+cluster://host:port,host:port` is a Redis Cluster, also with `rediss+cluster:` and `valkey+cluster:`. One address is enough to find the others, several are safer.
//! A plain address that leads to a node of a cluster is an error that says so, with the first call.
//!
//! Every step touches one slot. A `load` and a `replace` are one round trip, as on one server; a `replace` that moves the expiry by a tenth of the idle timeout, a
//! touch and a `delete` of somebody's session are two, a first write two to four, a `rename` five. Nothing is read from replicas. A single node, that of the key `dewar-epochs`, is
//! asked with each first write and each renewal.
//!
//! All promises of a store hold, also where a process dies between two steps. What can be seen of the steps:
//!
//! - For as long as a renewal is under way, and where its process died, whoever meets the old session finishes it first: for a minute. Then it has ended, as
//!   where the answer was lost with the new id.
//! - A log-in that meets a conflict may have ended in vain what had to give way to it.
//! - A session whose principal's node lost the last moments before a fail-over is in no list of devices until it is touched: `revoke_all` ends it only then.
//! - A process that dies in a first write while everybody's sessions are ended may leave a record whose id was given to nobody.
//!
//! A slot may move to another node meanwhile. A change of another framework's record waits until it is there. `count`, `list` of everybody, `revoke_everyone` and
//! `purge` go through all primaries, and again where slots moved.
//!
//! A command whose slot nobody serves waits for two seconds for a node that takes it over; then it is an error. A fail-over may lose what was
//! confirmed and not yet copied: a log-out, too. Set `cluster-require-full-coverage no`, so that a part that is lost does not take the others along.
//!
//! The names are those of one server, but for the indexes: `dewar-index:` and the principal. A site that moves to a cluster begins with no sessions, or copies none of
//! `dewar-sessions:`.
//!
//! # Endings
//!
//! Sessions that end are published on the channel `dewar-endings`, by whoever ends them: [`SessionStore::endings`]. It is one connection for each process, also to a
//! cluster, whose nodes pass on what is published. What is published while nobody is connected is not told of, and so each new beginning is told of.
//! A connection of the application's own tells nothing.
//!
//! # Memory
//!
//! Set `maxmemory-policy` to `noeviction`: then nothing goes before its time. On a full server log-outs and revocations work, pages that only read
//! keep their sessions, and a change that makes a session longer is an error (503), a log-in as a rule.
//!
//! With `volatile-lru` a full server drops what was not used for long instead. A session is a person logged out then, a tombstone or
//! [guard](Record::guarded_until) guards no longer, and a session whose index was dropped is in no list of devices until it is touched or changed:
//! `revoke_all` ends it only then. Where sessions are moved here from cookies, `noeviction`. Never a policy of `allkeys`: the epochs, `dewar-epochs`, must stay.
//!
//! # Faults
//!
//! Where the server closed a connection or started again, the next call connects anew: what only reads, and what done twice is as done once, is asked again. A
//! write of which nobody knows whether it was done is an error of the store; the manager looks it up. A server that refuses because it became a
//! replica, lost its primary or is still loading (`READONLY`, `MASTERDOWN`, `LOADING`) is left for a new connection to the same address, once a second at most, and asked
//! once more there. Until the first write is refused, a primary that became a replica answers reads with what it has.
//! An end of all sessions that meets another server in its middle begins again there; after three of them it is an error.
//!
//! The store speaks RESP3, which tells it of a closed connection at once; `?protocol=resp2` behind a proxy that does not know it.
//!
//! # TLS
//!
//! `rediss://` is Redis over TLS, with the feature `redis-tls`. The server's certificate is verified, and its name has to be the address's. Trusted are the system's
//! authorities, or those of a file:
//!
//! ```text
//! rediss://ada:PASSWORD@redis.example:6380/?ca=/etc/site/ca.pem
//! rediss://redis.example:6380/?ca=/etc/site/ca.pem&cert=/etc/site/web.pem&key=/etc/site/web.key
//! ```
//!
//! `cert` and `key` are for a server that asks for a certificate (`tls-auth-clients`). The files are PEM and are read once, when the store is opened; after a change of
//! theirs, open it anew. `#insecure` is refused: who does not verify sends passwords and sessions to whoever answers.
//!
//! The cryptography is rustls's with ring. An application that installs another provider does it before it opens a store. What an address cannot say, a client of
//! the application's own can: [`redis1`](super::redis1).
//!
//! # Sentinel
//!
//! ```text
//! redis+sentinel://ada:PASSWORD@host:26379,host:26379,host:26379/SERVICE/0?sentinel_password=PASSWORD
//! ```
//!
//! The user and the database are the servers'; `sentinel_user` and `sentinel_password` are the sentinels'. `rediss+sentinel://` reaches both over TLS: the certificates
//! have to hold what the sentinels call the servers, their IP addresses unless `sentinel resolve-hostnames` and `announce-hostnames` are set.
//! `SERVICE` is the name in `sentinel monitor`. A sentinel's user needs `+sentinel|master +sentinel|get-master-addr-by-name`.
//!
//! The store asks all sentinels for the primary, takes the newest of their answers, and asks the server itself whether it is one. It asks again where the connection is lost
//! or the server became a replica. Until there is another primary, a call waits within its [time limit](RedisStore::time_limit); a write that was under
//! way when the connection went is an error, which the manager looks up at the next primary. A primary that hangs costs each call under way its time limit.
//!
//! A primary that hung comes back as one, and sentinels take about ten seconds to tell it that there is another. So an answer counts only where the sentinels have named that server
//! within the last second: once a second, one question to them.
//! Where no sentinel answers, what they said last holds.
//!
//! # What a fail-over may lose
//!
//! Redis answers before its replicas have a write. What the next primary had not received is lost with the former one, although it was confirmed: a log-in
//! that has to be repeated, and, which is worse, a log-out that comes back: its session lives again.
//!
//! Measured with `kill -9` of the primary while eight clients log in and out: where the replicas are 20 milliseconds away, five fail-overs lost 45 of 16,135 log-ins, and 47 of
//! 16,158 log-outs came back; what was written in those 20 milliseconds. With `wait=2` none. On one machine ten fail-overs lost none of 16,073.
//!
//! `?wait=1` sends a `WAIT` with each write, in the same round trip: the write counts when one replica has it. Where none says so within `wait_timeout` (milliseconds; 1000
//! unless it is set), the call is an error: the write stands on the primary only. The manager does not look such a write up, and whoever logs out again is confirmed or not
//! again. It is for every write, so that nobody has to know which of them count; what only reads never waits, because writes have connections of their own (8). Its price is the way to the replica and back:
//! on one machine 0.2 milliseconds for a write instead of 0.07. The user needs
//! `+wait +publish &dewar-wait` besides.
//!
//! N is how many replicas there are. With two of them, `wait=1` and a busy machine, five hangs of the primary lost 381 of 1,946 log-ins, and 380 of 1,951 log-outs came
//! back: one replica was promoted while the other still confirmed what the former primary wrote when it woke up. With `wait=2` five such hangs lost none of 2,834, and
//! none of 2,825 came back; no write is confirmed then while one of the two is missing. A replica confirms what it has in memory.
//!
//! `min-replicas-to-write 1` is the server's own: it refuses writes (`NOREPLICAS`; nothing was done, and the store says so) while no replica has been heard of for
//! `min-replicas-max-lag` seconds. It bounds how long a primary that is cut off goes on alone, and confirms no single write.
//!
//! Whose clock decides: expiry, by the clock of the application that asks, as everywhere in this library; when the server drops what has expired, by a time to live that counts from
//! that clock's now. A server whose clock is hours off changes nothing, unless it is set while it runs.
//!
//! # Rights
//!
//! What a Redis user needs who does nothing else; the last three words are for a cluster, where it is set on every node. Who may not publish ends sessions all the same, and
//! nobody is told; `~sess:*` where the records of Express are called so, and `+select` for another database than the first:
//!
//! ```text
//! ACL SETUSER dewar on >PASSWORD ~dewar* ~sess:* &dewar-endings +publish +subscribe +evalsha +script|load +scan +info +get +getrange +set +setrange +exists +del +pttl +expire +pexpire +persist +hget +hmget +hset +hsetnx +hdel +hexists +hlen +hkeys +hgetall +zrange +zrem +zremrangebyscore +time +cluster|slots +asking
//! ```

mod address;
mod cluster;
mod connection;
mod endings;
mod engine;
mod failure;
mod index;
mod layout;
mod scripts;
mod sentinel;
mod tls;
mod wait;

use std::{sync::Arc, time::Duration};

use redis::{Script, ScriptInvocation, Value, aio::ConnectionManager, cmd};

use self::{
    address::Address,
    cluster::Cluster,
    connection::{Connection, Request, check_runtime},
    engine::Strings,
    scripts::{CONFLICT, DONE, FULL, GONE, OUTDATED, TAKEN},
};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, Written,
};
use crate::{layout::Shape, runtime::Task};

/// The longest TTL, a hundred years, in milliseconds: Redis refuses what overflows its clock.
const FOREVER: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Keeps sessions in Redis or Valkey. A clone is the same store, on the same connection.
///
/// ```no_run
/// use dewar::store::redis::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), dewar::store::StoreError> {
/// let store = RedisStore::open("redis://127.0.0.1/")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisStore(Place);

/// Where the sessions are.
#[derive(Clone, Debug)]
enum Place {
    Server(Connection),
    Cluster(Cluster),
}

impl RedisStore {
    /// How long a call waits for its answer unless [set](Self::time_limit): 5 seconds.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);

    /// A store at this address: `redis://[[user]:password@]host[:port][/database]`. `rediss://` is [TLS](self#tls),
    /// `redis+sentinel://` asks [sentinels](self#sentinel), `redis+cluster://host:port[,host:port...]` is [a cluster](self#a-cluster), `redis+unix:///FILE` is a socket. A `%`, `@`, `/`, `?` or `#` in a password is written as `%25`, `%40`, `%2F`, `%3F` or `%23`.
    ///
    /// | setting | what it says |
    /// | --- | --- |
    /// | `?wait=N`, `&wait_timeout=MILLISECONDS` | N replicas [confirm](self#what-a-fail-over-may-lose) each write |
    /// | `?ca=FILE`, `?cert=FILE&key=FILE` | who is trusted, and who we are, over TLS |
    /// | `?sentinel_user=USER`, `?sentinel_password=PASSWORD` | who logs in to the sentinels |
    /// | `?protocol=resp2` | the older protocol |
    ///
    /// It connects when it is first asked something, and again by itself whenever the connection
    /// was lost. Call it within a tokio runtime that has timers (`enable_time`).
    ///
    /// # Errors
    ///
    /// Where the address cannot be read, says something unknown, names a file that does not hold what it should, or the runtime has no timers; not where nobody
    /// answers there. No password is in a message.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let limit = Self::DEFAULT_TIME_LIMIT;
        check_runtime()?;
        let address = Address::parse(url, limit)?;
        match address.place {
            address::Place::Cluster(nodes) => {
                Ok(Self(Place::Cluster(Cluster::new(nodes, address.certificates, limit))))
            }
            _ => Connection::open(address, limit).map(Place::Server).map(Self),
        }
    }

    /// Sets how long a call waits for its answer before it fails.
    ///
    /// A write that failed so may have been done nevertheless.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self(match self.0 {
            Place::Server(server) => Place::Server(server.within(limit)),
            Place::Cluster(cluster) => Place::Cluster(cluster.within(limit)),
        })
    }

    pub(crate) fn with_manager(manager: ConnectionManager) -> Self {
        Self(Place::Server(Connection::new(manager, Self::DEFAULT_TIME_LIMIT)))
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.load(key, now).await,
        };
        let bytes: Option<Vec<u8>> = server.ask("load", Request::Read(cmd("GET").arg(key.to_string()))).await?;
        bytes.map_or(Ok(Load::Missing), |bytes| layout::decode(key, bytes, now))
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.create(key, version, record, cap, now).await,
        };
        let mut script = if cap.is_some() { &scripts::CREATE_CAPPED } else { &scripts::CREATE }.key(key.to_string());
        script.arg(now.as_millis()).arg(layout::encode(&record, version)).arg(&key.digest()[..]);
        cap.inspect(|cap| capped(&mut script, cap));
        match run(server, "create", key, Request::Script(&script)).await? {
            Answer::Written { epoch, listed, ended } => {
                if let Some(principal) = record.principal.as_deref()
                    && let Err(error) = server.tidy_large(principal, listed, now).await
                {
                    // The record stands; another will tidy.
                    tracing::debug!(%error, "the index of principals was not tidied");
                }
                Ok(Create::Created(written(&record, version, epoch, ended)))
            }
            Answer::Conflict => Ok(Create::Exists),
            Answer::Gone(Some(tombstone)) => Ok(Create::Gone(tombstone)),
            Answer::Outdated => Ok(Create::Outdated),
            Answer::Full => Ok(Create::Full),
            other => Err(unknown(&other)),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.replace(key, at, version, record, now).await,
        };
        let mut script = on(&scripts::REPLACE, key, now, Some(at));
        script.arg(layout::encode(&record, version)).arg(&key.digest()[..]);
        replaced(run(server, "replace", key, Request::Script(&script)).await?, version)
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.touch(key, at, idle_expires, now).await,
        };
        let mut script = on(&scripts::TOUCH, key, now, Some(at));
        script.arg(&idle_expires.as_millis().to_be_bytes()[..]).arg(&key.digest()[..]);
        match run(server, "touch", key, Request::Repeatable(&script)).await? {
            Answer::Gone(tombstone) => Ok(Touch::Gone(tombstone)),
            Answer::Conflict => Ok(Touch::Conflict),
            Answer::Done => Ok(Touch::Touched),
            other => Err(unknown(&other)),
        }
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.delete(key, at, tombstone, now).await,
        };
        let mut script = on(&scripts::DELETE, key, now, at);
        script.arg(layout::encode_tombstone(&tombstone)).arg(&key.digest()[..]);
        match run(server, "delete", key, Request::Script(&script)).await? {
            Answer::Gone(tombstone) => Ok(Delete::Gone(tombstone)),
            Answer::Conflict => Ok(Delete::Conflict),
            Answer::Done => Ok(Delete::Deleted),
            other => Err(unknown(&other)),
        }
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.rename(from, at, to, version, record, tombstone, cap, now).await,
        };
        let script = if cap.is_some() { &scripts::RENAME_CAPPED } else { &scripts::RENAME };
        let mut script = on(script, from, now, at);
        script.key(to.to_string()).arg(layout::encode(&record, version)).arg(layout::encode_tombstone(&tombstone));
        script.arg(&from.digest()[..]).arg(&to.digest()[..]);
        cap.inspect(|cap| capped(&mut script, cap));
        match run(server, "rename", from, Request::Script(&script)).await? {
            Answer::Written { epoch, ended, .. } => Ok(Rename::Renamed(written(&record, version, epoch, ended))),
            other => not_renamed(other),
        }
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.ping(now).await,
        };
        let _: i64 = server.ask("ping", Request::Repeatable(&scripts::PROBE.key("dewar-probed"))).await?;
        Ok(())
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        endings::listen(&self.0, tell)
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        match shape {
            Shape::Blob => match &self.0 {
                Place::Server(server) => Some(Arc::new(Strings::of(server))),
                Place::Cluster(cluster) => Some(Arc::new(cluster::Strings(cluster.clone()))),
            },
            Shape::Row(_) => None,
        }
    }
}

impl SessionAdmin for RedisStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.count(now).await,
        };
        server.count(now).await
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => {
                return match principal {
                    Some(principal) => cluster.list_of(principal, after.map(StoreKey::digest), limit, now).await,
                    None => cluster.list_all(after.map(StoreKey::digest), limit, now).await,
                };
            }
        };
        let after = after.map(StoreKey::digest);
        match principal {
            Some(principal) => server.list_of(principal, after, limit, now).await,
            None => server.list_all(after, limit, now).await,
        }
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.epoch(principal).await,
        };
        server.epoch(principal).await
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.revoke(principal, which, &tombstone, now).await,
        };
        match which {
            Revoke::All => server.end_all(principal, None, &tombstone, now).await,
            Revoke::AllBut { lineage, epoch } => {
                server.end_all(principal, Some((lineage, epoch)), &tombstone, now).await
            }
            Revoke::Lineage(lineage) => server.end_lineage(principal, lineage, &tombstone, now).await,
        }
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.end_everyone(&tombstone, now).await,
        };
        server.end_everyone(&tombstone, now).await
    }

    /// Zero: records and tombstones go away by themselves. What the index of principals still names of them is removed, all of it
    /// at once. It goes through all keys, and so once a day is plenty.
    async fn purge(&self, _limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.tidy_all(now).await.map(|()| 0),
        };
        server.tidy_all(now).await.map(|()| 0)
    }

    /// Once a day, for one of all that share the server.
    async fn claim_purge(&self, _now: Timestamp) -> Result<bool, StoreError> {
        let server = match &self.0 {
            Place::Server(server) => server,
            Place::Cluster(cluster) => return cluster.claim_purge().await,
        };
        server.claim_purge().await
    }
}

async fn run(server: &Connection, what: &str, key: &StoreKey, request: Request<'_>) -> Result<Answer, StoreError> {
    Answer::read(key, server.ask(what, request).await?)
}

/// What a script answered.
#[derive(Debug)]
enum Answer {
    Done,
    /// A new record stands.
    Written {
        epoch: u64,
        /// How many keys the index of its principal names.
        listed: u64,
        /// How many sessions gave way.
        ended: u32,
    },
    Gone(Option<Tombstone>),
    Conflict,
    Outdated,
    Taken,
    Full,
}

impl Answer {
    fn read(key: &StoreKey, value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Int(DONE) => Ok(Self::Done),
            Value::Int(GONE) => Ok(Self::Gone(None)),
            Value::Int(CONFLICT) => Ok(Self::Conflict),
            Value::Int(OUTDATED) => Ok(Self::Outdated),
            Value::Int(TAKEN) => Ok(Self::Taken),
            Value::Int(FULL) => Ok(Self::Full),
            Value::BulkString(bytes) => layout::decode_tombstone(key, bytes).map(|found| Self::Gone(Some(found))),
            Value::Array(parts) => Self::written(&parts).ok_or_else(|| unknown(&parts)),
            other => Err(unknown(&other)),
        }
    }

    fn written(parts: &[Value]) -> Option<Self> {
        let [Value::BulkString(epoch), Value::Int(listed), Value::Int(ended)] = parts else { return None };
        let epoch = u64::from_be_bytes(epoch.as_slice().try_into().ok()?);
        Some(Self::Written { epoch, listed: u64::try_from(*listed).ok()?, ended: u32::try_from(*ended).ok()? })
    }
}

/// A script on a record of our own, at a version or any.
fn on<'a>(script: &'a Script, key: &StoreKey, now: Timestamp, at: Option<Version>) -> ScriptInvocation<'a> {
    let mut script = script.key(key.to_string());
    let at = at.map(|at| at.bits().to_be_bytes());
    script.arg(now.as_millis()).arg(at.as_ref().map_or(&[][..], |at| &at[..]));
    script
}

fn capped(script: &mut ScriptInvocation<'_>, cap: &Cap) {
    script.arg(cap.most.get()).arg(cap.end_oldest.as_ref().map(layout::encode_tombstone).unwrap_or_default());
}

/// Without a principal, the epoch that a record carries is the store's own affair.
fn written(record: &Record, version: Version, epoch: u64, ended: u32) -> Written {
    Written { version, epoch: if record.principal.is_some() { epoch } else { 0 }, ended }
}

fn replaced(answer: Answer, version: Version) -> Result<Replace, StoreError> {
    match answer {
        Answer::Gone(tombstone) => Ok(Replace::Gone(tombstone)),
        Answer::Conflict => Ok(Replace::Conflict),
        Answer::Done => Ok(Replace::Replaced(version)),
        other => Err(unknown(&other)),
    }
}

fn not_renamed(answer: Answer) -> Result<Rename, StoreError> {
    match answer {
        Answer::Gone(tombstone) => Ok(Rename::Gone(tombstone)),
        Answer::Conflict => Ok(Rename::Conflict),
        Answer::Outdated => Ok(Rename::Outdated),
        Answer::Full => Ok(Rename::Full),
        Answer::Taken => Err(StoreError::new("redis: the new key is not new")),
        other => Err(unknown(&other)),
    }
}

fn unknown(_: &impl std::fmt::Debug) -> StoreError {
    StoreError::new("redis: a script gave an unknown answer")
}
