//! What Redis runs in one piece.
//!
//! Time is an argument here too: a record is expired when the caller's clock says so, and the TTL,
//! which counts from now, only sees to it that it goes away.
//!
//! A script answers with a number, with the bytes of the tombstone it met, or with what was written. Numbers of
//! Lua have 53 bits: moments and epochs fit, and what does not is only moved as the eight bytes that it is.

use std::sync::LazyLock;

use redis::Script;

/// The answers of the scripts.
pub(super) const GONE: i64 = 0;
/// It has another version; of a create or a rename: there is one already.
pub(super) const CONFLICT: i64 = 1;
pub(super) const DONE: i64 = 2;
pub(super) const OUTDATED: i64 = 3;
pub(super) const TAKEN: i64 = 4;
/// The principal has as many sessions as may be.
pub(super) const FULL: i64 = 5;
/// Of an end: beside how many it ended.
pub(super) const NOT_RAISED: i64 = -1;

/// What makes room, takes none, or ends a session also runs where the server has no room left.
macro_rules! without_room {
    () => {
        "#!lua flags=allow-oom\n"
    };
}
pub(super) use without_room;

/// Of a script that may need room. A full server refuses where its first write is one that takes room, and does all that follows another.
macro_rules! reserving {
    () => {
        r"
        -- The first write: it changes nothing, and takes room only where the record gets longer than what stands there.
        local function reserve(key, record)
            if redis.call('GETRANGE', key, #record - 1, #record - 1) == '' then
                redis.call('SETRANGE', key, 0, '')
            else
                redis.call('PEXPIRE', key, 1, 'GT')
            end
        end
        "
    };
}
pub(super) use reserving;

/// What the scripts on our own records have in common. `ARGV[1]` is now.
macro_rules! records {
    () => {
        r"
        local now = tonumber(ARGV[1])
        local ZERO = string.rep('\0', 8)
        local PRESENT = string.rep('\255', 8)
        local FOREVER = 3153600000000

        local function number(bytes) return (struct.unpack('>I8', bytes)) end

        local function ttl(ends)
            return string.format('%.0f', math.max(1, math.min(ends - now, FOREVER)))
        end

        -- The first eight bytes, little-endian, without the lowest bit.
        local function lineage_of(digest)
            local bytes, carry = '', 0
            for at = 8, 1, -1 do
                local byte = string.byte(digest, at)
                bytes = bytes .. string.char(carry + math.floor(byte / 2))
                carry = byte % 2 * 128
            end
            return bytes == ZERO and '\0\0\0\0\0\0\0\1' or bytes
        end

        local function parse(bytes, digest)
            local format, flags = string.byte(bytes, 1, 2)
            if format ~= 1 and format ~= 2 then error({ err = 'DEWAR a record has an unknown format' }) end
            local it = { format = format, version = string.sub(bytes, 3, 10), idle = string.sub(bytes, 11, 18) }
            it.is_tombstone = flags % 2 == 1
            if it.is_tombstone then return it end
            it.absolute = string.sub(bytes, 19, 26)
            it.expires = number(it.idle) < number(it.absolute) and it.idle or it.absolute
            local at = 39
            if format == 2 then
                it.guard, it.epoch, it.lineage = string.sub(bytes, 27, 34), string.sub(bytes, 35, 42), string.sub(bytes, 43, 50)
                at = 63
            end
            it.created = string.sub(bytes, at - 12, at - 5)
            local length = struct.unpack('>I4', bytes, at)
            if length > 0 then
                it.last = at + 2 + length
                it.principal = string.sub(bytes, at + 4, it.last)
            end
            if format == 1 then
                it.guard, it.epoch, it.lineage = ZERO, ZERO, it.principal and lineage_of(digest) or ZERO
            end
            return it
        end

        -- What stands under a key: a record that lives, or a tombstone that is not over, or neither.
        local function standing(key, digest)
            local bytes = redis.call('GETRANGE', key, 0, 321)
            if #bytes == 0 then return {} end
            local it = parse(bytes, digest)
            if #bytes == 322 and (it.is_tombstone or it.last and it.last > 322) then
                bytes = redis.call('GET', key)
                it = parse(bytes, digest)
            end
            if it.is_tombstone then
                if number(it.idle) > now then it.tombstone = bytes end
            elseif number(it.expires) > now then
                it.lives = true
            elseif number(it.guard) > now then
                it.tombstone = '\2\1' .. ZERO .. it.guard .. it.expires .. '\0'
            end
            return it
        end

        local function put(key, record, it)
            redis.call('SET', key, record, 'PX', ttl(math.max(number(it.expires), number(it.guard))))
        end

        -- Puts a tombstone that stands at least until the guard.
        local function put_tombstone(key, tombstone, guard)
            if guard and number(guard) > number(string.sub(tombstone, 11, 18)) then
                tombstone = string.sub(tombstone, 1, 10) .. guard .. string.sub(tombstone, 19)
            end
            redis.call('SET', key, tombstone, 'PX', ttl(number(string.sub(tombstone, 11, 18))))
            return tombstone
        end

        local function carrying(record, epoch) return string.sub(record, 1, 34) .. epoch .. string.sub(record, 43) end

        -- Whoever listens is told which session is no more. A user who may not publish ends sessions all the same.
        local function tell(key) redis.pcall('PUBLISH', 'dewar-endings', key) end
        "
    };
}
pub(super) use records;

/// The same on one server, where a step also reads and writes the index and the epochs.
macro_rules! common {
    () => {
        concat!(
            records!(),
            r"
        local EPOCHS = 'dewar-epochs'
        local HOUR = 3600000

        local function index_of(it) return 'dewar-sessions:' .. it.principal end

        -- Keeps an index as long as the session that it lists, and an hour, so that this is seldom moved.
        local function keep(it, ends)
            local index, needs = index_of(it), math.min(ends - now, FOREVER - HOUR)
            local left = redis.call('PTTL', index)
            -- One without an end is of the release before, and may list what lives longer.
            if left == -1 and redis.call('HLEN', index) > 1 then return end
            if left < needs then redis.call('PEXPIRE', index, ttl(now + needs + HOUR)) end
        end

        local function enlist(it, digest)
            if not it.principal then return end
            redis.call('HSET', index_of(it), digest, it.lineage)
            keep(it, number(it.expires))
        end

        local function unlist(it, digest)
            if not it.principal then return 0 end
            redis.call('ZREM', 'dewar-principal:' .. it.principal, digest)
            return redis.call('HDEL', index_of(it), digest)
        end

        local function epoch_of(field) return tonumber(redis.call('HGET', EPOCHS, field) or '0') end

        local function present(principal)
            local everyone = epoch_of('everyone')
            return principal and math.max(everyone, epoch_of('p:' .. principal)) or everyone
        end

        -- Whether a session of this lineage that began in this epoch may live.
        local function admits(principal, lineage, epoch)
            if epoch >= present(principal) then return true end
            return principal and epoch >= epoch_of('everyone') and redis.call('HGET', EPOCHS, 'l:' .. principal) == lineage
        end

        -- The epoch that a new record carries, or nothing where it began before the present one.
        local function admitted(it)
            if it.epoch == PRESENT then return struct.pack('>I8', present(it.principal)) end
            return admits(it.principal, it.lineage, number(it.epoch)) and it.epoch or nil
        end

        -- That a lineage was to end which no index listed.
        local function mark_of(principal, lineage)
            local hex = string.gsub(lineage, '.', function(letter) return string.format('%02x', string.byte(letter)) end)
            return 'dewar-ended-lineage:' .. hex .. ':' .. principal
        end

        -- Whether a session that lives is listed, or is again. Where its index was lost it may have been to end since, and is not.
        local function is_listed(it, digest)
            if not it.principal or redis.call('HEXISTS', index_of(it), digest) == 1 then return true end
            if redis.call('EXISTS', mark_of(it.principal, it.lineage)) == 1 then return false end
            if not admits(it.principal, it.lineage, number(it.epoch)) then return false end
            enlist(it, digest)
            return true
        end

        -- Ends what was to end; the tombstone.
        local function finish(key, it)
            local times = struct.pack('>I8I8', now + 120000, now)
            tell(key)
            return put_tombstone(key, '\2\1' .. ZERO .. times .. '\0', it.guard)
        end
        "
        )
    };
}

/// What ends the sessions of a principal.
macro_rules! revoking {
    () => {
        r"
        -- Takes over what the format before listed. What is new there may have its record still on the way, and stays.
        local function take_over(principal)
            local former = 'dewar-principal:' .. principal
            for _, digest in ipairs(redis.call('ZRANGE', former, 0, -1)) do
                redis.call('HSETNX', 'dewar-sessions:' .. principal, digest, lineage_of(digest))
                -- Nobody knows how long they live: whoever takes out the last of them ends it.
                redis.call('PERSIST', 'dewar-sessions:' .. principal)
            end
            redis.call('ZREMRANGEBYSCORE', former, '-inf', string.format('%.0f', now - 120000))
        end

        local function raise(field)
            local epoch = string.format('%.0f', math.max(epoch_of('last') + 1, now))
            redis.call('HSET', EPOCHS, 'last', epoch, field, epoch)
            return epoch
        end
        "
    };
}

/// Which key a digest names.
macro_rules! naming {
    () => {
        r"
        local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
        local function key_of(digest)
            local text, held, bits = 'dewar:', 0, 0
            for at = 1, #digest do
                held, bits = held * 256 + string.byte(digest, at), bits + 8
                while bits >= 6 do
                    bits = bits - 6
                    local letter = math.floor(held / 2 ^ bits)
                    text, held = text .. string.sub(ALPHABET, letter + 1, letter + 1), held % 2 ^ bits
                end
            end
            local letter = held * 2 ^ (6 - bits)
            return text .. string.sub(ALPHABET, letter + 1, letter + 1)
        end
        "
    };
}

/// What keeps a principal to so many sessions.
macro_rules! capping {
    () => {
        r"
        local function is_before(one, other)
            local ones, others = number(one.created), number(other.created)
            if ones ~= others then return ones < others end
            for at = 1, 32 do
                local a, b = string.byte(one.digest, at), string.byte(other.digest, at)
                if a ~= b then return a < b end
            end
            return false
        end

        -- The sessions of a new one's principal that live, the oldest first: but of its own lineage, and the one that it takes the place of.
        local function others_of(it, from)
            local others = {}
            take_over(it.principal)
            local listed = redis.call('HGETALL', index_of(it))
            for at = 1, #listed, 2 do
                local digest = listed[at]
                if digest ~= from and listed[at + 1] ~= it.lineage then
                    local other = standing(key_of(digest), digest)
                    other.digest = digest
                    if other.lives and other.principal == it.principal then others[#others + 1] = other end
                end
            end
            table.sort(others, is_before)
            return others
        end

        -- Makes room for one more; how many ended, or nothing where there is none.
        local function room(it, from, most, tombstone)
            if not it.principal then return 0 end
            local others = others_of(it, from)
            local ends = math.max(#others + 1 - most, 0)
            if ends > 0 and tombstone == '' then return end
            for at = 1, ends do
                local key = key_of(others[at].digest)
                unlist(others[at], others[at].digest)
                put_tombstone(key, tombstone, others[at].guard)
                tell(key)
            end
            return ends
        end
        "
    };
}

pub(super) fn script(text: &str) -> Script {
    Script::new(text)
}

macro_rules! create {
    ($room:expr) => {
        concat!(
            r"
        local before = standing(KEYS[1], ARGV[3])
        if before.lives then return 1 end
        if before.tombstone then return before.tombstone end
        local it = parse(ARGV[2], ARGV[3])
        local epoch = admitted(it)
        if not epoch then return 3 end
        reserve(KEYS[1], ARGV[2])
        ",
            $room,
            r"
        unlist(before, ARGV[3])
        enlist(it, ARGV[3])
        put(KEYS[1], carrying(ARGV[2], epoch), it)
        return { epoch, it.principal and redis.call('HLEN', 'dewar-sessions:' .. it.principal) or 0, ended }
        "
        )
    };
}

/// now, record, digest
pub(super) static CREATE: LazyLock<Script> =
    LazyLock::new(|| script(concat!(common!(), reserving!(), create!("local ended = 0"))));

/// now, record, digest, how many sessions there may be, the tombstone of those that give way or nothing
pub(super) static CREATE_CAPPED: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        common!(),
        reserving!(),
        revoking!(),
        naming!(),
        capping!(),
        create!(
            r"
        local ended = room(it, nil, tonumber(ARGV[4]), ARGV[5])
        if not ended then return 5 end
        "
        )
    ))
});

/// now, version, record, digest
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        common!(),
        reserving!(),
        r"
        local before = standing(KEYS[1], ARGV[4])
        if not before.lives then return before.tombstone or 0 end
        if before.version ~= ARGV[2] then return 1 end
        reserve(KEYS[1], ARGV[3])
        if not is_listed(before, ARGV[4]) then return finish(KEYS[1], before) end
        local it = parse(ARGV[3], ARGV[4])
        local record = ARGV[3]
        if not it.principal then
            record = carrying(record, before.epoch)
        elseif it.epoch == PRESENT then
            record = carrying(record, struct.pack('>I8', present(it.principal)))
        end
        if before.format == 1 or before.principal ~= it.principal or before.lineage ~= it.lineage then
            unlist(before, ARGV[4])
            enlist(it, ARGV[4])
        elseif it.principal then
            keep(it, number(it.expires))
        end
        put(KEYS[1], record, it)
        return 2
        "
    ))
});

/// now, version, idle expiry in bytes, digest
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        r"
        local it = standing(KEYS[1], ARGV[4])
        if not it.lives then return it.tombstone or 0 end
        if it.version ~= ARGV[2] then return 1 end
        if not is_listed(it, ARGV[4]) then return finish(KEYS[1], it) end
        local expires = math.min(number(ARGV[3]), number(it.absolute))
        redis.call('SETRANGE', KEYS[1], 10, ARGV[3])
        redis.call('PEXPIRE', KEYS[1], ttl(math.max(expires, number(it.guard))))
        if it.principal then keep(it, expires) end
        return 2
        "
    ))
});

/// now, version or nothing, tombstone, digest
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        r"
        local it = standing(KEYS[1], ARGV[4])
        if ARGV[2] ~= '' then
            if not it.lives then return it.tombstone or 0 end
            if it.version ~= ARGV[2] then return 1 end
        end
        unlist(it, ARGV[4])
        if it.tombstone then
            local stands = it.tombstone
            if string.byte(stands) == 1 then
                local made = struct.pack('>I8', math.max(0, number(it.idle) - 120000))
                stands = '\2\1' .. ZERO .. it.idle .. made .. '\0'
            end
            return put_tombstone(KEYS[1], stands, string.sub(ARGV[3], 11, 18))
        end
        put_tombstone(KEYS[1], ARGV[3], it.lives and it.guard)
        if it.lives then tell(KEYS[1]) end
        return it.lives and 2 or 0
        "
    ))
});

macro_rules! rename {
    ($room:expr) => {
        concat!(
            r"
        local before = standing(KEYS[1], ARGV[5])
        if not before.lives then return before.tombstone or 0 end
        if ARGV[2] ~= '' and before.version ~= ARGV[2] then return 1 end
        reserve(KEYS[1], ARGV[3])
        if not is_listed(before, ARGV[5]) then return finish(KEYS[1], before) end
        local target = standing(KEYS[2], ARGV[6])
        if target.lives or target.tombstone then return 4 end
        local it = parse(ARGV[3], ARGV[6])
        -- About to be ended, also where somebody logs in to it now.
        if number(before.epoch) < epoch_of('everyone') then return 3 end
        local epoch = admitted(it)
        if not epoch then return 3 end
        ",
            $room,
            r"
        unlist(target, ARGV[6])
        unlist(before, ARGV[5])
        enlist(it, ARGV[6])
        put(KEYS[2], carrying(ARGV[3], epoch), it)
        put_tombstone(KEYS[1], ARGV[4], before.guard)
        tell(KEYS[1])
        return { epoch, 0, ended }
        "
        )
    };
}

/// now, version or nothing, record, tombstone, the digests of both keys
pub(super) static RENAME: LazyLock<Script> =
    LazyLock::new(|| script(concat!(common!(), reserving!(), rename!("local ended = 0"))));

/// The same, how many sessions there may be, the tombstone of those that give way or nothing
pub(super) static RENAME_CAPPED: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        common!(),
        reserving!(),
        revoking!(),
        naming!(),
        capping!(),
        rename!(
            r"
        local ended = room(it, ARGV[5], tonumber(ARGV[7]), ARGV[8])
        if not ended then return 5 end
        "
        )
    ))
});

/// Raises the epoch of a principal, and lists the sessions: now, principal, the lineage that is to stay or nothing, the epoch it began in
pub(super) static RAISE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        revoking!(),
        r"
        take_over(ARGV[2])
        local passes = ARGV[3] ~= '' and admits(ARGV[2], ARGV[3], tonumber(ARGV[4])) and ARGV[3] or ''
        local epoch = raise('p:' .. ARGV[2])
        if passes ~= '' then
            redis.call('HSET', EPOCHS, 'l:' .. ARGV[2], passes)
        else
            redis.call('HDEL', EPOCHS, 'l:' .. ARGV[2])
        end
        return { epoch, passes, redis.call('HKEYS', 'dewar-sessions:' .. ARGV[2]) }
        "
    ))
});

/// Raises the epoch of everybody: now
pub(super) static RAISE_EVERYONE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        revoking!(),
        r"
        redis.pcall('PUBLISH', 'dewar-endings', '')
        return raise('everyone')
        "
    ))
});

/// Ends those of the keys that began before an epoch. `NOT_RAISED` where that epoch is not known: another server is in service than the one that raised it.
/// now, tombstone, epoch, whose it is, the lineage that passes or nothing, a digest for each key
pub(super) static END: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        r"
        if epoch_of(ARGV[4]) < tonumber(ARGV[3]) then return -1 end
        local ended = 0
        for at, key in ipairs(KEYS) do
            local digest = ARGV[5 + at]
            local is_known, it = pcall(standing, key, digest)
            if not is_known then
                -- Whose it is, nobody can say: it may be theirs who are to be logged out.
                put_tombstone(key, ARGV[2])
                tell(key)
                ended, it = ended + 1, {}
            end
            local is_meant = ARGV[4] == 'everyone' or it.principal and ARGV[4] == 'p:' .. it.principal
            if it.lives and is_meant and it.lineage ~= ARGV[5] and number(it.epoch) < tonumber(ARGV[3]) then
                unlist(it, digest)
                put_tombstone(key, ARGV[2], it.guard)
                tell(key)
                ended = ended + 1
            end
        end
        return ended
        "
    ))
});

/// Ends one lineage of a principal: now, tombstone, principal, lineage, eight bytes that tell this from every other call
pub(super) static END_LINEAGE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        revoking!(),
        naming!(),
        r"
        -- As long as a browser keeps a cookie, 400 days.
        local MARKED = 34560000000
        local mark = mark_of(ARGV[3], ARGV[4])
        local earlier = redis.call('GET', mark) or ''
        if string.sub(earlier, 1, 8) == ARGV[5] then return tonumber(string.sub(earlier, 9)) end
        take_over(ARGV[3])
        if redis.call('HGET', EPOCHS, 'l:' .. ARGV[3]) == ARGV[4] then redis.call('HDEL', EPOCHS, 'l:' .. ARGV[3]) end
        local listed, ended = redis.call('HGETALL', 'dewar-sessions:' .. ARGV[3]), 0
        for at = 1, #listed, 2 do
            local digest = listed[at]
            if listed[at + 1] == ARGV[4] then
                local key = key_of(digest)
                local it = standing(key, digest)
                if it.lives and it.principal == ARGV[3] and it.lineage == ARGV[4] then
                    unlist(it, digest)
                    put_tombstone(key, ARGV[2], it.guard)
                    tell(key)
                    ended = ended + 1
                end
            end
        end
        redis.call('SET', mark, ARGV[5] .. ended, 'PX', ended > 0 and 120000 or MARKED)
        return ended
        "
    ))
});

/// Takes over the index of the format before: now, principal
pub(super) static TAKE_OVER: LazyLock<Script> =
    LazyLock::new(|| script(concat!(without_room!(), common!(), revoking!(), "take_over(ARGV[2]) return 2")));

/// Takes those of the keys out of an index that are no longer the principal's: now, principal, a digest for each key
pub(super) static UNLIST: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        common!(),
        r"
        local removed = 0
        for at, key in ipairs(KEYS) do
            local digest = ARGV[2 + at]
            local is_known, it = pcall(standing, key, digest)
            if is_known and (not it.lives or it.principal ~= ARGV[2]) then
                removed = removed + redis.call('HDEL', 'dewar-sessions:' .. ARGV[2], digest)
            end
        end
        return removed
        "
    ))
});

/// Whether this server may be written to: it deletes what is not there
pub(super) static PROBE: LazyLock<Script> =
    LazyLock::new(|| script(concat!(without_room!(), "redis.call('DEL', KEYS[1]) return 2")));

/// Whether it is the caller's turn to purge: once a day it is somebody's.
pub(super) static CLAIM_PURGE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(without_room!(), "return redis.call('SET', 'dewar-purged', '', 'NX', 'PX', 86400000) and 1 or 0"))
});
