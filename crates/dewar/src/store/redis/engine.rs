//! Records of another framework: strings with a TTL, as `SET key value EX seconds` leaves them.
//!
//! Their version is the digest of their bytes. What has ended here leaves a tombstone under a key of its own, with the record's whole name in it as the
//! hash tag, so that one script may touch both.
//!
//! A framework may have a lock: a key beside the record, for as long as one of its requests has the session. A script that finds it does nothing, and is asked
//! again. It needs no lock of its own, since it runs alone. A touch does not wait for long: the request that has the lock moves the expiry itself when it ends.

use std::sync::{Arc, LazyLock};

use redis::{Script, ScriptInvocation, Value, cmd, pipe};

use super::{
    FOREVER,
    connection::{Connection, Request},
    layout,
    scripts::{CONFLICT, DONE, GONE, TAKEN, reserving, script, without_room},
    unknown,
};
use crate::layout::Stored;
use crate::store::{
    Answer, Applied, Engine, Found, Guard, StoreError, StoreKey, Timestamp, Tombstone, Version, Write,
    patience::{LOCK_LIMIT, Patience, TOUCH_LIMIT},
};

/// The engine of a [`RedisStore`].
#[derive(Debug)]
pub(super) struct Strings {
    server: Connection,
    /// What is added to a record's name for its framework's lock.
    lock: Option<&'static str>,
}

impl Strings {
    pub(super) fn of(server: &Connection) -> Self {
        Self { server: server.clone(), lock: None }
    }

    /// Asks until the framework's lock does not stand.
    async fn run(&self, what: &str, name: &str, request: Request<'_>) -> Result<Applied, StoreError> {
        let mut patience = Patience::new(LOCK_LIMIT);
        loop {
            match self.asked(what, name, request).await? {
                Some(applied) => return Ok(applied),
                None if patience.pause().await => {}
                None => return Err(patience.error("redis", what)),
            }
        }
    }

    /// `None`: the lock stands, and nothing was done.
    async fn asked(&self, what: &str, name: &str, request: Request<'_>) -> Result<Option<Applied>, StoreError> {
        Ok(Some(match self.server.ask(what, request).await? {
            Value::Int(LOCKED) => return Ok(None),
            Value::Int(DONE) => Applied::Done,
            Value::Int(CONFLICT) => Applied::Conflict,
            Value::Int(GONE) => Applied::Gone(None),
            Value::Int(TAKEN) => return Err(StoreError::new("redis: the new key is not new")),
            Value::BulkString(bytes) => Applied::Gone(Some(tombstone_of(name, bytes)?)),
            other => return Err(unknown(&other)),
        }))
    }

    async fn touch(&self, name: &str, request: Request<'_>) -> Result<Applied, StoreError> {
        let mut patience = Patience::new(TOUCH_LIMIT);
        loop {
            match self.asked("touch", name, request).await? {
                Some(applied) => return Ok(applied),
                None if patience.pause().await => {}
                None => return Ok(Applied::Done),
            }
        }
    }

    /// The framework's lock, as the last key of a script.
    fn locked(&self, script: &mut ScriptInvocation<'_>, name: &str) {
        if let Some(lock) = self.lock {
            script.key(format!("{name}{lock}"));
        }
    }
}

impl Engine for Strings {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            let mut reads = pipe();
            reads.cmd("GET").arg(name).cmd("PTTL").arg(name).cmd("GET").arg(tombstone_key(name));
            let (data, ttl, tombstone): (Option<Vec<u8>>, i64, Option<Vec<u8>>) =
                self.server.ask("load", Request::Reads(&reads)).await?;
            let tombstone = tombstone.map(|bytes| tombstone_of(name, bytes)).transpose()?;
            if let Some(tombstone) = tombstone.filter(|tombstone| tombstone.until > now) {
                if data.is_some() {
                    self.run("load", name, Request::Repeatable(&on(&SWEEP, name, now))).await?;
                }
                return Ok(Found::Gone(tombstone));
            }
            found(data, ttl, now)
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let (what, script) = writing(guard, &write);
            let mut script = on(script, name, now);
            self.locked(&mut script, name);
            script.arg(digest(guard));
            match &write {
                Write::Record { data, expires, .. } => script.arg(seconds(*expires, now)).arg(&**data.body()),
                Write::Touch(expires) => script.arg(seconds(*expires, now)),
            };
            match write {
                Write::Record { .. } => self.run(what, name, Request::Script(&script)).await,
                Write::Touch(_) => self.touch(name, Request::Repeatable(&script)).await,
            }
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let mut script = on(&END, name, now);
            self.locked(&mut script, name);
            script.arg(digest(guard));
            script.arg(millis(tombstone.until, now)).arg(layout::encode_tombstone(&tombstone));
            self.run("delete", name, Request::Script(&script)).await
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
            let mut script = on(&RENAME, from, now);
            script.key(to).key(tombstone_key(to));
            self.locked(&mut script, from);
            script.arg(digest(guard));
            script.arg(millis(tombstone.until, now)).arg(layout::encode_tombstone(&tombstone));
            script.arg(seconds(expires, now)).arg(&**data.body());
            self.run("rename", from, Request::Script(&script)).await
        })
    }

    fn forget<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut delete = cmd("DEL");
            // Done twice it is as done once.
            self.server.ask("forget", Request::Read(delete.arg(name))).await
        })
    }

    fn version(&self, data: &Stored, _drawn: Version) -> Version {
        Version::digest(data.body())
    }

    fn heeding(&self, lock: &'static str) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Self { server: self.server.clone(), lock: Some(lock) }))
    }
}

/// The script found the framework's lock.
const LOCKED: i64 = 7;

/// Ends where the framework's lock stands: the key of this number, where there is one.
macro_rules! unlocked {
    ($number:literal) => {
        concat!("if KEYS[", $number, "] and redis.call('EXISTS', KEYS[", $number, "]) == 1 then return 7 end\n")
    };
}

/// What the answers of the server say of a record that no tombstone stands beside.
pub(super) fn found(data: Option<Vec<u8>>, ttl: i64, now: Timestamp) -> Result<Found, StoreError> {
    let Some(data) = data else { return Ok(Found::Missing) };
    // Without a TTL it never expires; one that expired between the two commands has a TTL of -2.
    let expires = match ttl {
        -1 => Timestamp::from_millis(u64::MAX),
        ttl => Timestamp::from_millis(now.as_millis().saturating_add(u64::try_from(ttl).unwrap_or(0))),
    };
    let version = Version::digest(&data);
    Ok(match expires > now {
        true => Found::Record { data: Stored::Blob(data.into()), version, expires },
        false => Found::Missing,
    })
}

/// What a write is called, and its script.
pub(super) fn writing(guard: Guard, write: &Write) -> (&'static str, &'static LazyLock<Script>) {
    match (guard, write) {
        (Guard::Absent, _) => ("create", &CREATE),
        (Guard::Is(_) | Guard::Any, Write::Record { .. }) => ("replace", &REPLACE),
        (Guard::Is(_) | Guard::Any, Write::Touch(_)) => ("touch", &TOUCH),
    }
}

/// Where the tombstone of a record stands: in the same slot.
pub(super) fn tombstone_key(name: &str) -> String {
    let has_tag =
        name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty());
    if has_tag { format!("dewar-ended-at:{name}") } else { format!("dewar-ended:{{{name}}}") }
}

/// Nothing: whatever stands there.
pub(super) fn digest(guard: Guard) -> String {
    guard.version().map(Version::hex).unwrap_or_default()
}

pub(super) fn tombstone_of(name: &str, bytes: Vec<u8>) -> Result<Tombstone, StoreError> {
    layout::decode_tombstone(&StoreKey::foreign(name), bytes)
}

/// A script on a record and its tombstone. The first argument is now.
fn on<'a>(script: &'a Script, name: &str, now: Timestamp) -> ScriptInvocation<'a> {
    let mut script = script.key(name);
    script.key(tombstone_key(name)).arg(now.as_millis());
    script
}

/// A TTL counts from the caller's now, so that a server's clock that goes wrong does no harm. One of zero would be refused.
pub(super) fn millis(until: Timestamp, now: Timestamp) -> u64 {
    until.as_millis().saturating_sub(now.as_millis()).clamp(1, FOREVER)
}

pub(super) fn seconds(expires: Timestamp, now: Timestamp) -> u64 {
    millis(expires, now).div_ceil(1000)
}

/// Ends with the tombstone where one stands. A record beside it is a late write of the framework's, and goes.
macro_rules! living {
    () => {
        r"
        local function until_of(tombstone) return struct.unpack('>I8', tombstone, 11) end
        local tombstone = redis.call('GET', KEYS[2])
        if tombstone and until_of(tombstone) > tonumber(ARGV[1]) then
            redis.call('DEL', KEYS[1])
        else
            tombstone = nil
        end
        "
    };
}

pub(super) use living;

/// Ends with `GONE` unless a record stands, and with `CONFLICT` unless its bytes have the digest `ARGV[2]`. An empty one stands for any.
macro_rules! same {
    () => {
        r"
        if tombstone then return tombstone end
        local value = redis.call('GET', KEYS[1])
        if not value then return 0 end
        if ARGV[2] ~= '' and string.sub(redis.sha1hex(value), 1, 30) ~= ARGV[2] then return 1 end
        "
    };
}
pub(super) use same;

/// now
pub(super) static SWEEP: LazyLock<Script> =
    LazyLock::new(|| script(concat!(without_room!(), living!(), "return tombstone or 0")));

/// now, nothing, TTL in seconds, data
pub(super) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        unlocked!(3),
        living!(),
        r"
        if tombstone then return tombstone end
        if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
        redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
        return 2
        "
    ))
});

/// now, digest, TTL in seconds, data
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        unlocked!(3),
        living!(),
        same!(),
        reserving!(),
        r"
        reserve(KEYS[1], ARGV[4])
        redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
        return 2
        "
    ))
});

/// now, digest, TTL in seconds
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        unlocked!(3),
        living!(),
        same!(),
        r"
        redis.call('EXPIRE', KEYS[1], ARGV[3])
        return 2
        "
    ))
});

/// now, digest or nothing, TTL of the tombstone in milliseconds, tombstone
pub(super) static END: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        unlocked!(3),
        living!(),
        r"
        if tombstone then
            if until_of(ARGV[4]) > until_of(tombstone) then
                tombstone = string.sub(tombstone, 1, 10) .. string.sub(ARGV[4], 11, 18) .. string.sub(tombstone, 19)
                redis.call('SET', KEYS[2], tombstone, 'PX', ARGV[3])
            end
            return tombstone
        end
        local value = redis.call('GET', KEYS[1])
        if ARGV[2] ~= '' then
            if not value then return 0 end
            if string.sub(redis.sha1hex(value), 1, 30) ~= ARGV[2] then return 1 end
        end
        redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
        if value then redis.pcall('PUBLISH', 'dewar-endings', KEYS[1]) end
        return value and 2 or 0
        "
    ))
});

/// now, digest or nothing, TTL of the tombstone in milliseconds, tombstone, TTL in seconds, data; the new key and its tombstone's
static RENAME: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        unlocked!(5),
        living!(),
        same!(),
        reserving!(),
        r"
        if redis.call('EXISTS', KEYS[3]) == 1 then return 4 end
        local other = redis.call('GET', KEYS[4])
        if other and until_of(other) > tonumber(ARGV[1]) then return 4 end
        reserve(KEYS[1], ARGV[6])
        redis.call('SET', KEYS[3], ARGV[6], 'EX', ARGV[5])
        redis.call('DEL', KEYS[1])
        redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
        redis.pcall('PUBLISH', 'dewar-endings', KEYS[1])
        return 2
        "
    ))
});
