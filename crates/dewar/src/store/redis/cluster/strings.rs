//! Records of another framework in a cluster: as on one server, with a tombstone in the record's slot.
//!
//! A rename is as one of ours: the tombstone holds the record that is on its way, and whoever meets it brings it there first.
//!
//! A framework's lock is a key in another slot as a rule, and is not heeded: a request of the framework's may write over ours, as where it has no lock.
//!
//! Each script touches the record and its tombstone. So a change waits while the slot is on its way to another node.

use std::sync::LazyLock;

use futures_util::future::join3;
use redis::Script;

use super::{
    super::{
        engine::{self, digest, living, millis, same, seconds, tombstone_of},
        scripts::{CONFLICT, TAKEN, reserving, script, without_room},
    },
    nodes::{slot_of, tag_of},
    scripts::{clock, moving},
    *,
};
use crate::{
    layout::Stored,
    store::{Answer, Applied, Engine, Found, Guard, Write},
};

/// The engine of a [`Cluster`].
#[derive(Debug)]
pub(in super::super) struct Strings(pub(in super::super) Cluster);

/// What is on its way, before its bytes: until when it stands.
const EXPIRES: usize = 8;

impl Strings {
    async fn run(&self, what: &str, name: &str, call: Call, now: Timestamp) -> Result<Applied, StoreError> {
        let said = self.0.nodes.ask(what, call).await?;
        self.said(name, said, now).await
    }

    async fn said(&self, name: &str, said: Value, now: Timestamp) -> Result<Applied, StoreError> {
        match said {
            Value::Int(DONE | MINE) => Ok(Applied::Done),
            Value::Int(CONFLICT) => Ok(Applied::Conflict),
            Value::Int(GONE) => Ok(Applied::Gone(None)),
            Value::Int(TAKEN) => Err(taken()),
            Value::Int(LATE) => Err(late()),
            Value::BulkString(bytes) => Ok(Applied::Gone(Some(self.tombstone(name, bytes, now).await?))),
            other => Err(unknown(&other)),
        }
    }

    /// A tombstone that was met. What is on its way from there is brought there first.
    async fn tombstone(&self, name: &str, bytes: Vec<u8>, now: Timestamp) -> Result<Tombstone, StoreError> {
        if let Some(moving) = layout::moving(&bytes) {
            self.arrive(name, &moving, now).await?;
        }
        tombstone_of(name, bytes)
    }

    async fn check(&self, name: &str, now: Timestamp) -> Result<(u64, Value), StoreError> {
        self.0.nodes.ask("create", on(&CHECK, name, now).repeatable()).await
    }

    async fn arrive(&self, from: &str, moving: &Moving, now: Timestamp) -> Result<(), StoreError> {
        let to = moving.to.to_string();
        let (at, stands) = self.check(&to, now).await?;
        let tombstone = tombstone_key(from);
        if stands == Value::Int(GONE) {
            let pending = Call::script(&scripts::PENDING, &tombstone, now).repeatable();
            if let Value::BulkString(_) = self.0.nodes.ask("rename", pending).await? {
                let (expires, data) = moving.record.split_at_checked(EXPIRES).ok_or_else(|| unknown(&"rename"))?;
                let expires = Timestamp::from_millis(u64::from_be_bytes(expires.try_into().unwrap_or_default()));
                self.put(&to, data, expires, at, now).await?;
            }
        }
        self.settle(&tombstone, moving.nonce, now).await
    }

    async fn put(
        &self,
        to: &str,
        data: &[u8],
        expires: Timestamp,
        checked: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let put = on(&PUT, to, now).arg(checked).arg(seconds(expires, now)).arg(data).repeatable();
        match self.0.nodes.ask("rename", put).await? {
            Value::Int(LATE) => Err(late()),
            Value::Int(CONFLICT) => Err(taken()),
            // It stands there, or stood there and was ended.
            _ => Ok(()),
        }
    }

    async fn settle(&self, tombstone: &str, nonce: [u8; 8], now: Timestamp) -> Result<(), StoreError> {
        let settle = Call::script(&scripts::SETTLE, tombstone, now).arg(&nonce[..]).repeatable();
        self.0.nodes.ask::<Value>("rename", settle).await.map(drop)
    }

    async fn read<T: redis::FromRedisValue>(&self, command: &str, key: &str) -> Result<T, StoreError> {
        let mut read = cmd(command);
        read.arg(key);
        self.0.nodes.ask("load", Call::read(key, read)).await
    }
}

impl Engine for Strings {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            let key = tombstone_key(name);
            let (data, ttl, tombstone) = join3(
                self.read::<Option<Vec<u8>>>("GET", name),
                self.read::<i64>("PTTL", name),
                self.read::<Option<Vec<u8>>>("GET", &key),
            )
            .await;
            if let Some(bytes) = tombstone? {
                let tombstone = self.tombstone(name, bytes, now).await?;
                if tombstone.until > now {
                    if data?.is_some() {
                        self.run("load", name, on(&engine::SWEEP, name, now).repeatable(), now).await?;
                    }
                    return Ok(Found::Gone(tombstone));
                }
            }
            engine::found(data?, ttl?, now)
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let (what, script) = engine::writing(guard, &write);
            let call = on(script, name, now).arg(digest(guard));
            let call = match &write {
                Write::Record { data, expires, .. } => call.arg(seconds(*expires, now)).arg(&**data.body()),
                Write::Touch(expires) => call.arg(seconds(*expires, now)).repeatable(),
            };
            self.run(what, name, call, now).await
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let call = on(&engine::END, name, now).arg(digest(guard)).arg(millis(tombstone.until, now));
            self.run("delete", name, call.arg(layout::encode_tombstone(&tombstone)), now).await
        })
    }

    fn rename<'a>(
        &'a self,
        from: &'a str,
        guard: Guard,
        to: &'a str,
        write: Write,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        Box::pin(async move {
            let Write::Record { data, expires, .. } = write else { return Ok(Applied::Gone(None)) };
            let (at, stands) = self.check(to, now).await?;
            let call = |script| on(script, from, now).arg(digest(guard));
            if stands != Value::Int(GONE) {
                // What stands under the old name is answered first.
                let peek: Value = self.0.nodes.ask("rename", call(&PEEK).repeatable()).await?;
                return match self.said(from, peek, now).await? {
                    Applied::Done => Err(taken()),
                    refused => Ok(refused),
                };
            }
            let record = [&expires.as_millis().to_be_bytes()[..], &data.body()[..]].concat();
            let call = call(&MOVE).arg(millis(tombstone.until, now)).arg(layout::encode_tombstone(&tombstone));
            match self.run("rename", from, call.arg(to).arg(record), now).await? {
                Applied::Done => {}
                refused => return Ok(refused),
            }
            self.put(to, data.body(), expires, at, now).await?;
            self.settle(&tombstone_key(from), tombstone.nonce.to_be_bytes(), now).await?;
            Ok(Applied::Done)
        })
    }

    fn forget<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.read::<i64>("DEL", name).await.map(drop) })
    }

    fn version(&self, data: &Stored, _drawn: Version) -> Version {
        Version::digest(data.body())
    }
}

/// Where the tombstone of a record stands, in its slot also where the record's name has braces that are none of ours.
fn tombstone_key(name: &str) -> String {
    let key = engine::tombstone_key(name);
    let slot = slot_of(name.as_bytes());
    if slot_of(key.as_bytes()) == slot { key } else { format!("dewar-ended:{{{}}}:{name}", tag_of(slot)) }
}

/// A script on a record and its tombstone. The first argument is now.
fn on(script: &'static LazyLock<Script>, name: &str, now: Timestamp) -> Call {
    Call::on(script, &[name, &tombstone_key(name)], now)
}

fn taken() -> StoreError {
    StoreError::new("redis: the new key is not new")
}

/// now
static CHECK: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        living!(),
        clock!(),
        "return { clock(), tombstone or redis.call('EXISTS', KEYS[1]) }"
    ))
});

/// now, the time of the check before, TTL in seconds, data
static PUT: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        living!(),
        clock!(),
        r"
        if tombstone then return tombstone end
        local stands = redis.call('GET', KEYS[1])
        if stands then return stands == ARGV[4] and 5 or 1 end
        if math.abs(clock() - tonumber(ARGV[2])) > 30000 then return 6 end
        redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
        return 2
        "
    ))
});

/// now, digest or nothing
static PEEK: LazyLock<Script> = LazyLock::new(|| script(concat!(without_room!(), living!(), same!(), "return 2")));

/// now, digest or nothing, TTL of the tombstone in milliseconds, tombstone, the new name, the record
static MOVE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        living!(),
        same!(),
        reserving!(),
        clock!(),
        moving!(),
        r"
        local with_record = moving(ARGV[4], clock(), ARGV[5], ARGV[6])
        reserve(KEYS[1], with_record)
        redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], with_record, 'PX', ARGV[3])
        redis.pcall('PUBLISH', 'dewar-endings', KEYS[1])
        return 2
        "
    ))
});
