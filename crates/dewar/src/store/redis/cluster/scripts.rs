//! What a node of a cluster runs in one piece: each script touches one key.
//!
//! A second key would have to be in the same slot, and could not be read for as long as the slot is on its way to another node.

use std::sync::LazyLock;

use redis::Script;

use super::super::scripts::{records, reserving, script, without_room};

/// The answers of the scripts, beside those of one server.
pub(super) const LIVES: i64 = 1;
pub(super) const MINE: i64 = 5;
/// A write that was on its way for too long.
pub(super) const LATE: i64 = 6;
/// It is another principal's or another lineage's from then on.
pub(super) const ANOTHERS: i64 = 7;
/// Nothing stood there, and now a tombstone does.
pub(super) const BARRED: i64 = 8;

/// The server's own clock, in milliseconds.
macro_rules! clock {
    () => {
        r"
        local function clock()
            local time = redis.call('TIME')
            return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        end
        "
    };
}
pub(super) use clock;

/// Of a tombstone that a session is on its way from.
macro_rules! moving {
    () => {
        r"
        local function moving(tombstone, time, to, record)
            local successor = string.sub(tombstone, 28)
            return string.sub(tombstone, 1, 1) .. '\9' .. string.sub(tombstone, 3, 27)
                .. struct.pack('>I2', #successor) .. successor .. struct.pack('>I8I2', time, #to) .. to .. record
        end

        local function is_moving(bytes) return bytes and math.floor(string.byte(bytes, 2) / 8) % 2 == 1 end

        -- The tombstone alone.
        local function settled(bytes)
            local length = struct.unpack('>I2', bytes, 28)
            return string.sub(bytes, 1, 1) .. '\1' .. string.sub(bytes, 3, 27) .. string.sub(bytes, 30, 29 + length)
        end
        "
    };
}
pub(super) use moving;

// On a record.

/// What stands, and what time it is there: now, digest
pub(super) static CHECK: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        records!(),
        clock!(),
        r"
        local it = standing(KEYS[1], ARGV[2])
        return { clock(), it.lives and it.version or it.tombstone or 0 }
        "
    ))
});

/// Puts a record where nothing stands: now, record, digest, the time of the check before or nothing
pub(super) static PUT: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        records!(),
        reserving!(),
        clock!(),
        r"
        local before = standing(KEYS[1], ARGV[3])
        local it = parse(ARGV[2], ARGV[3])
        if before.lives then return before.version == it.version and 5 or 1 end
        if before.tombstone then return before.tombstone end
        if ARGV[4] ~= '' and math.abs(clock() - tonumber(ARGV[4])) > 30000 then return 6 end
        reserve(KEYS[1], ARGV[2])
        put(KEYS[1], ARGV[2], it)
        return 2
        "
    ))
});

/// Lets a record begin in a later epoch: now, version, digest, epoch in bytes
pub(super) static RESTAMP: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        records!(),
        r"
        local it = standing(KEYS[1], ARGV[3])
        if not it.lives then return it.tombstone or 0 end
        if it.version ~= ARGV[2] then return 1 end
        redis.call('SETRANGE', KEYS[1], 34, ARGV[4])
        return 2
        "
    ))
});

/// now, version, record, digest, the present epoch if it may be another principal's from then on. The answer has the epoch that it carries, and
/// whether its index is to be told how long it lives.
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        records!(),
        reserving!(),
        r"
        local before = standing(KEYS[1], ARGV[4])
        if not before.lives then return before.tombstone or 0 end
        if before.version ~= ARGV[2] then return 1 end
        local it = parse(ARGV[3], ARGV[4])
        local is_anothers = before.principal ~= it.principal or before.lineage ~= it.lineage
        if is_anothers and ARGV[5] == '' then return 7 end
        reserve(KEYS[1], ARGV[3])
        local epoch = it.epoch
        if not it.principal then
            epoch = before.epoch
        elseif epoch == PRESENT then
            epoch = before.principal == it.principal and before.epoch or ARGV[5]
        end
        put(KEYS[1], carrying(ARGV[3], epoch), it)
        if is_anothers then return { before.principal or '', before.lineage } end
        if it.principal then
            -- A tenth of the idle timeout, as a touch is throttled.
            local idle = struct.unpack('>I4', ARGV[3], 59)
            if number(it.idle) - number(before.idle) >= idle * 100 and it.idle ~= before.idle then return epoch end
        end
        return 2
        "
    ))
});

/// now, version, idle expiry in bytes, digest. The answer has what the index of its principal is told.
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        records!(),
        r"
        local it = standing(KEYS[1], ARGV[4])
        if not it.lives then return it.tombstone or 0 end
        if it.version ~= ARGV[2] then return 1 end
        local expires = number(ARGV[3]) < number(it.absolute) and ARGV[3] or it.absolute
        redis.call('SETRANGE', KEYS[1], 10, ARGV[3])
        redis.call('PEXPIRE', KEYS[1], ttl(math.max(number(expires), number(it.guard))))
        if not it.principal then return 2 end
        return { it.principal, it.lineage, it.created, expires, it.epoch }
        "
    ))
});

/// now, version or nothing, tombstone, digest. The answer has whose it was.
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        records!(),
        r"
        local it = standing(KEYS[1], ARGV[4])
        if ARGV[2] ~= '' then
            if not it.lives then return it.tombstone or 0 end
            if it.version ~= ARGV[2] then return 1 end
        end
        if it.tombstone then return put_tombstone(KEYS[1], it.tombstone, string.sub(ARGV[3], 11, 18)) end
        put_tombstone(KEYS[1], ARGV[3], it.lives and it.guard)
        if not it.lives then return 0 end
        tell(KEYS[1])
        return { it.principal or '', it.lineage }
        "
    ))
});

/// Whether a rename may begin: now, version or nothing, digest, everybody's epoch
macro_rules! may_move {
    () => {
        r"
        local before = standing(KEYS[1], ARGV[3])
        if not before.lives then return before.tombstone or 0 end
        if ARGV[2] ~= '' and before.version ~= ARGV[2] then return 1 end
        if number(before.epoch) < tonumber(ARGV[4]) then return 3 end
        "
    };
}

/// now, version or nothing, digest, everybody's epoch
pub(super) static PEEK: LazyLock<Script> =
    LazyLock::new(|| script(concat!(without_room!(), records!(), may_move!(), "return 2")));

/// Puts the tombstone, with the record that is on its way: now, version or nothing, digest, everybody's epoch, tombstone, the new key, the record
pub(super) static MOVE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        records!(),
        reserving!(),
        clock!(),
        moving!(),
        may_move!(),
        r"
        local with_record = moving(ARGV[5], clock(), ARGV[6], ARGV[7])
        reserve(KEYS[1], with_record)
        put_tombstone(KEYS[1], with_record, before.guard)
        tell(KEYS[1])
        return { before.principal or '', before.lineage }
        "
    ))
});

/// The record that is on its way from here, for as long as it may arrive: now
pub(super) static PENDING: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        clock!(),
        moving!(),
        r"
        local bytes = redis.call('GET', KEYS[1])
        if not is_moving(bytes) then return 0 end
        local begun = struct.unpack('>I8', bytes, 30 + struct.unpack('>I2', bytes, 28))
        return math.abs(clock() - begun) <= 60000 and bytes or 0
        "
    ))
});

/// Leaves the tombstone alone, once the record has arrived: now, nonce
pub(super) static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        moving!(),
        r"
        local bytes = redis.call('GET', KEYS[1])
        if not is_moving(bytes) or string.sub(bytes, 3, 10) ~= ARGV[2] then return 0 end
        redis.call('SET', KEYS[1], settled(bytes), 'KEEPTTL')
        return 2
        "
    ))
});

/// Ends a record that is meant: now, tombstone, digest, its principal or nothing, its lineage or nothing, the lineage that passes or nothing, the
/// epoch that it began before or nothing, whether a tombstone is left where nothing stands
pub(super) static END: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        records!(),
        moving!(),
        r"
        local is_known, it = pcall(standing, KEYS[1], ARGV[3])
        if not is_known then
            -- Whose it is, nobody can say: it may be theirs who are to be logged out.
            put_tombstone(KEYS[1], ARGV[2])
            tell(KEYS[1])
            return { '', ZERO }
        end
        if it.tombstone then return is_moving(it.tombstone) and it.tombstone or 0 end
        if not it.lives then
            if ARGV[8] == '' then return 0 end
            put_tombstone(KEYS[1], ARGV[2])
            return 8
        end
        local is_meant = (ARGV[4] == '' or it.principal == ARGV[4])
            and (ARGV[5] == '' or it.lineage == ARGV[5])
            and (ARGV[6] == '' or it.lineage ~= ARGV[6])
            and (ARGV[7] == '' or number(it.epoch) < tonumber(ARGV[7]))
        if not is_meant then return 1 end
        put_tombstone(KEYS[1], ARGV[2], it.guard)
        tell(KEYS[1])
        return { it.principal or '', it.lineage }
        "
    ))
});

// On the index of a principal.

/// The fields of an index: `epoch`, `passes`, `l` and a lineage that has ended, `d` and a digest and its lineage for each session.
macro_rules! index {
    () => {
        r"
        local function number(bytes) return (struct.unpack('>I8', bytes)) end
        local function own() return tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') end
        local PRESENT = string.rep('\255', 8)
        local now = tonumber(ARGV[1])

        -- Whether a session of this lineage that began in this epoch may live.
        local function admits(lineage, epoch)
            return epoch >= own() or redis.call('HGET', KEYS[1], 'passes') == lineage
        end

        local function has_ended(lineage)
            return tonumber(redis.call('HGET', KEYS[1], 'l' .. lineage) or '0') > now
        end

        -- All sessions, or those of one lineage: fields and values by turns.
        local function listed(lineage)
            local all, found = redis.call('HGETALL', KEYS[1]), {}
            for at = 1, #all, 2 do
                if string.byte(all[at]) == 100 and #all[at] == 41 and (not lineage or string.sub(all[at], 34) == lineage) then
                    found[#found + 1] = all[at]
                    found[#found + 1] = all[at + 1]
                end
            end
            return found
        end

        -- created, expires, when it was listed by this server's clock, whether it gives way, the digest it comes from or nothing
        local function entry(created, expires, listed, gives_way, from)
            return created .. expires .. struct.pack('>I8', listed) .. gives_way .. from
        end
        "
    };
}

/// Lists a session that is about to begin: now, digest, lineage, created, expires, the digest it comes from or nothing, epoch, how many there may be
/// or nothing, whether the oldest give way, whether those listed were looked at. The answer has the principal's own epoch, and who gives way.
pub(super) static ENLIST: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        index!(),
        clock!(),
        r"
        local digest, lineage, from = ARGV[2], ARGV[3], ARGV[6]
        -- Whoever ends a lineage ends what is listed; what is not must end here.
        if has_ended(lineage) then return { redis.call('HEXISTS', KEYS[1], 'd' .. from .. lineage) == 1 and -3 or -4 } end
        if ARGV[7] ~= PRESENT and not admits(lineage, number(ARGV[7])) then return { -3 } end
        local leaving = {}
        if ARGV[8] ~= '' then
            local all, counted, sources = listed(), {}, {}
            for at = 1, #all, 2 do sources[string.sub(all[at], 2, 33)] = true end
            for at = 1, #all, 2 do
                local value = all[at + 1]
                local other = {
                    field = all[at], value = value, digest = string.sub(all[at], 2, 33), created = number(value),
                    from = string.sub(value, 26),
                }
                if string.sub(value, 25, 25) == '1' then
                    leaving[#leaving + 1] = other.field
                elseif other.digest ~= digest and other.digest ~= from and string.sub(other.field, 34) ~= lineage
                    and not (sources[other.from] and other.from ~= from)
                    and number(string.sub(value, 9, 16)) > (ARGV[10] == '' and 0 or now) then
                    counted[#counted + 1] = other
                end
            end
            local ends = #counted + 1 - tonumber(ARGV[8])
            if ends > 0 and ARGV[10] == '' then return { -7 } end
            if ends > 0 and ARGV[9] == '' then return { -5 } end
            table.sort(counted, function(one, other)
                if one.created ~= other.created then return one.created < other.created end
                for at = 1, 32 do
                    local a, b = string.byte(one.digest, at), string.byte(other.digest, at)
                    if a ~= b then return a < b end
                end
                return one.field < other.field
            end)
            for at = 1, ends do
                local it = counted[at]
                redis.call('HSET', KEYS[1], it.field, string.sub(it.value, 1, 24) .. '1' .. it.from)
                leaving[#leaving + 1] = it.field
            end
        end
        redis.call('HSET', KEYS[1], 'd' .. digest .. lineage, entry(ARGV[4], ARGV[5], clock(), '0', from))
        return { own(), leaving }
        "
    ))
});

/// Lists a session again that lives, with what is known of it by now; not one that was to end: now, digest, lineage, created, expires, epoch in bytes
pub(super) static HEAL: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        index!(),
        clock!(),
        r"
        local field = 'd' .. ARGV[2] .. ARGV[3]
        local before = redis.call('HGET', KEYS[1], field)
        if before and string.sub(before, 25, 25) == '1' then return 0 end
        if not before and (has_ended(ARGV[3]) or not admits(ARGV[3], number(ARGV[6]))) then return 0 end
        local since = before and number(string.sub(before, 17, 24)) or clock()
        redis.call('HSET', KEYS[1], field, entry(ARGV[4], ARGV[5], since, '0', before and string.sub(before, 26) or ''))
        return 2
        "
    ))
});

/// Takes sessions out: now, an epoch that the index must know or nothing, the field of a session that has arrived or nothing, fields.
/// `-1` where the epoch is not known: another node is in service than the one that raised it.
pub(super) static UNLIST: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        index!(),
        r"
        if ARGV[2] ~= '' and own() < tonumber(ARGV[2]) then return -1 end
        local arrived = ARGV[3] ~= '' and redis.call('HGET', KEYS[1], ARGV[3])
        if arrived then redis.call('HSET', KEYS[1], ARGV[3], string.sub(arrived, 1, 25)) end
        for at = 4, #ARGV do redis.call('HDEL', KEYS[1], ARGV[at]) end
        return 2
        "
    ))
});

/// Mends an index after its records were looked at: now, and for each a field, the value that was seen, and how it is: `lives` with what it is by now,
/// `gone`, or `missing`, which may be on its way.
pub(super) static MEND: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        index!(),
        clock!(),
        r"
        local time = clock()
        for at = 2, #ARGV, 3 do
            local field, seen, how = ARGV[at], ARGV[at + 1], ARGV[at + 2]
            if redis.call('HGET', KEYS[1], field) == seen then
                if how == 'gone' or how == 'missing' and time - number(string.sub(seen, 17, 24)) > 300000 then
                    redis.call('HDEL', KEYS[1], field)
                elseif #how == 16 then
                    redis.call('HSET', KEYS[1], field, how .. string.sub(seen, 17))
                end
            end
        end
        local all = redis.call('HGETALL', KEYS[1])
        for at = 1, #all, 2 do
            if #all[at] == 9 and tonumber(all[at + 1]) <= now then redis.call('HDEL', KEYS[1], all[at]) end
        end
        return 2
        "
    ))
});

/// now
pub(super) static LIST: LazyLock<Script> =
    LazyLock::new(|| script(concat!(without_room!(), index!(), "return listed()")));

/// Raises the epoch, and takes the list: now, the epoch, the lineage that is to stay or nothing, the epoch it began in, everybody's epoch
pub(super) static RAISE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        index!(),
        r"
        if tonumber(ARGV[2]) <= own() then return { -1 } end
        local began, everyone = tonumber(ARGV[4]), tonumber(ARGV[5])
        local passes = ARGV[3]
        if passes ~= '' and (began < everyone or has_ended(passes) or not admits(passes, began)) then passes = '' end
        redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
        if passes == '' then
            redis.call('HDEL', KEYS[1], 'passes')
        else
            redis.call('HSET', KEYS[1], 'passes', passes)
        end
        return { passes, listed() }
        "
    ))
});

/// Ends a lineage, and lists its sessions: now, lineage
pub(super) static END_LINEAGE: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        index!(),
        r"
        -- As long as a browser keeps a cookie, 400 days.
        redis.call('HSET', KEYS[1], 'l' .. ARGV[2], string.format('%.0f', now + 34560000000))
        if redis.call('HGET', KEYS[1], 'passes') == ARGV[2] then redis.call('HDEL', KEYS[1], 'passes') end
        return listed(ARGV[2])
        "
    ))
});

// On the epochs.

/// Draws an epoch that is later than any before: now, whether it is everybody's from now on. The answer has it, and everybody's.
pub(super) static DRAW: LazyLock<Script> = LazyLock::new(|| {
    script(concat!(
        without_room!(),
        r"
        local last = tonumber(redis.call('HGET', KEYS[1], 'last') or '0')
        local epoch = string.format('%.0f', math.max(last + 1, tonumber(ARGV[1])))
        redis.call('HSET', KEYS[1], 'last', epoch)
        if ARGV[2] ~= '' then
            redis.call('HSET', KEYS[1], 'everyone', epoch)
            redis.pcall('PUBLISH', 'dewar-endings', '')
        end
        return { epoch, redis.call('HGET', KEYS[1], 'everyone') or '0' }
        "
    ))
});
