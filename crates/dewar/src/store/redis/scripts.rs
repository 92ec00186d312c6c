//! What Redis runs in one piece. Each script touches one key, so it suits a cluster.
//!
//! Time is an argument here too: a record is expired when the caller's clock says so, and the TTL,
//! which counts from now, only sees to it that it goes away.

use std::sync::LazyLock;

use redis::Script;

/// The answers of the scripts.
pub(super) const GONE: i64 = 0;
pub(super) const CONFLICT: i64 = 1;
pub(super) const DONE: i64 = 2;
/// The principal is another one: its index is written first.
pub(super) const UNINDEXED: i64 = 3;

/// Ends with `GONE` unless a record stands here (a mark is shorter), and with `CONFLICT` unless it
/// has the version `ARGV[2]`. An empty one stands for any.
macro_rules! live {
    () => {
        "
        local now = tonumber(ARGV[1])
        local head = redis.call('GETRANGE', KEYS[1], 0, 25)
        if #head < 26 then return 0 end
        if string.byte(head) ~= 1 then return redis.error_reply('DEWAR a record has an unknown format') end
        local idle, absolute = struct.unpack('>I8I8', head, 11)
        if idle <= now or absolute <= now then return 0 end
        if ARGV[2] ~= '' and string.sub(head, 3, 10) ~= ARGV[2] then return 1 end
        "
    };
}

/// The same for a record that another framework shares: its version is a digest of its bytes.
macro_rules! same {
    () => {
        "
        local value = redis.call('GET', KEYS[1])
        if not value then return 0 end
        if ARGV[1] ~= '' and string.sub(redis.sha1hex(value), 1, 32) ~= ARGV[1] then return 1 end
        "
    };
}

fn script(text: &str) -> Script {
    Script::new(text)
}

/// now, record, TTL
pub(super) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
        local now = tonumber(ARGV[1])
        local head = redis.call('GETRANGE', KEYS[1], 0, 25)
        if #head > 0 then
            if #head < 18 or string.byte(head) ~= 1 then return 1 end
            local expires = struct.unpack('>I8', head, 11)
            if #head == 26 then expires = math.min(expires, (struct.unpack('>I8', head, 19))) end
            if expires > now then return 1 end
        end
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 2
        ",
    )
});

/// now, version, record, TTL, the principal's bytes or nothing
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        live!(),
        "
        local principal = ARGV[5]
        if principal ~= '' and redis.call('GETRANGE', KEYS[1], 38, 37 + #principal) ~= principal then return 3 end
        redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
        return 2
        "
    ))
});

/// now, version, idle expiry, the same in bytes, the longest TTL
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        live!(),
        "
        local ttl = math.min(tonumber(ARGV[3]), absolute) - now
        redis.call('SETRANGE', KEYS[1], 10, ARGV[4])
        redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(1, math.min(ttl, tonumber(ARGV[5])))))
        return 2
        "
    ))
});

/// now, version or nothing, mark, TTL
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        live!(),
        "
        redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
        return 2
        "
    ))
});

/// digest, data, TTL in seconds
pub(super) static REPLACE_FOREIGN: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        same!(),
        "
        redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
        return 2
        "
    ))
});

/// digest, TTL in seconds
pub(super) static TOUCH_FOREIGN: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        same!(),
        "
        redis.call('EXPIRE', KEYS[1], ARGV[2])
        return 2
        "
    ))
});

/// digest or nothing
pub(super) static DELETE_FOREIGN: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        same!(),
        "
        redis.call('DEL', KEYS[1])
        return 2
        "
    ))
});

/// Takes a member out of an index unless it was written again meanwhile: member, score
pub(super) static UNINDEX: LazyLock<Script> = LazyLock::new(|| {
    script(
        "
        local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
        if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
        return redis.call('ZREM', KEYS[1], ARGV[1])
        ",
    )
});
