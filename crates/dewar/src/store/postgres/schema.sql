-- The tables and functions of dewar, version 2, for PostgreSQL 13 and later.
--
-- It is run in one transaction, and may be run again: what is there stays. Moments are milliseconds since the Unix epoch, and come from the callers.
-- A later version only adds tables, columns, and functions under new names, so that a process of the version before goes on beside it.

-- Whoever may make a function in a schema of the path could have theirs called instead of the server's: one whose arguments fit better
-- is taken even from a later schema. So the path has the server's own alone, here and in every function that the store calls.
-- The functions that those call have it from them.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Of those who start at once, one makes it all: the others fail at the first name that is taken, and find it made.
DO $do$
BEGIN
    IF to_regnamespace('dewar') IS NULL THEN
        CREATE SCHEMA dewar;
    END IF;
    IF to_regclass('dewar.schema') IS NULL THEN
        IF coalesce(to_regclass('dewar.session'), to_regclass('dewar.epoch'), to_regclass('dewar.turn')) IS NOT NULL THEN
            RAISE EXCEPTION 'somebody else''s tables are in this schema';
        END IF;
        CREATE TABLE dewar.schema (
            one         boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
            version     integer     NOT NULL,
            -- A release whose own version is at least this one works with these tables and functions, too.
            oldest      integer     NOT NULL,
            -- When somebody purged last, and until when somebody listens. The first is the callers' time, the second the server's.
            purged      bigint      NOT NULL DEFAULT 0,
            listened    timestamptz NOT NULL DEFAULT '-infinity'
        );
        CREATE TABLE dewar.session (
            -- 32 bytes: the digest of our id. 33: a 2, and the digest of the foreign name.
            key              bytea   NOT NULL PRIMARY KEY,
            name             text,
            version          bigint  NOT NULL,
            -- A tombstone, without data.
            gone             boolean NOT NULL,
            -- The earlier of the two expiries, or the end of the tombstone.
            expires          bigint  NOT NULL,
            -- The hour of it. Most writes leave it as it is, and so the indexes, too.
            due              bigint  NOT NULL GENERATED ALWAYS AS (expires / 3600000) STORED,
            created          bigint  NOT NULL,
            idle_seconds     bigint  NOT NULL,
            idle_expires     bigint  NOT NULL,
            absolute_expires bigint,
            persistent       boolean NOT NULL,
            -- The SHA-256 of the principal, which may be longer than an index takes.
            owner            bytea,
            principal        text,
            label            text,
            lineage          bigint,
            -- Without a principal: everybody's, when the session began.
            epoch            bigint,
            guarded_until    bigint,
            -- 0: ended; 1: begun again; 2: renewed.
            why              integer,
            nonce            bigint,
            made             bigint,
            successor        bytea,
            successor_name   text,
            data             bytea   NOT NULL
        ) WITH (fillfactor = 85);
        CREATE INDEX session_due ON dewar.session (due, gone);
        CREATE INDEX session_guarded ON dewar.session (due) WHERE guarded_until IS NOT NULL;
        CREATE INDEX session_owner ON dewar.session (owner, key) WHERE owner IS NOT NULL;
        -- Nothing is ever removed here, so that no epoch is given twice.
        CREATE TABLE dewar.epoch (
            -- Empty: everybody.
            owner  bytea  NOT NULL PRIMARY KEY,
            epoch  bigint NOT NULL,
            -- The lineage that passes as present.
            passes bigint
        );
        CREATE INDEX epoch_epoch ON dewar.epoch (epoch);
        CREATE TYPE dewar.tombstone_1 AS (
            why integer, nonce bigint, made bigint, until bigint, successor bytea, successor_name text
        );
        CREATE TYPE dewar.record_1 AS (
            name text, expires bigint, created bigint, idle_seconds bigint, idle_expires bigint, absolute_expires bigint,
            persistent boolean, owner bytea, principal text, label text, lineage bigint, epoch bigint,
            guarded_until bigint, data bytea
        );
        INSERT INTO dewar.schema (version, oldest) VALUES (2, 1);
    END IF;
    -- Of those who renew it at once, each in its turn.
    LOCK TABLE dewar.schema IN EXCLUSIVE MODE;
    IF to_regclass('dewar.turn') IS NULL THEN
        -- The table is everybody's lock. A principal's is one of the rows, which several principals have in common.
        CREATE TABLE dewar.turn (number integer NOT NULL PRIMARY KEY);
    END IF;
    INSERT INTO dewar.turn SELECT generate_series(0, 1023) ON CONFLICT DO NOTHING;
    UPDATE dewar.schema SET version = 2 WHERE version < 2;
END
$do$;

-- Whoever makes a session holds both locks shared until its commit, and whoever raises an epoch holds that one alone: so a raise
-- waits for every session that began in the epoch before, and sees it; and whoever comes after the raise sees the raise.
-- Everybody's lock first, then the principal's, then rows. A cap is counted under the principal's lock, alone.
-- In another isolation than READ COMMITTED, what is read under a lock would be older than the lock.
-- They are locks of our own tables, which nobody can take without a right to write there: advisory locks are free for all.
CREATE OR REPLACE FUNCTION dewar.lock_1(p_owner bytea, p_alone boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p_number integer := (get_byte(p_owner, 0) << 8 | get_byte(p_owner, 1)) & 1023;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'dewar needs the transaction isolation READ COMMITTED' USING ERRCODE = 'DW001';
    END IF;
    LOCK TABLE dewar.turn IN ROW SHARE MODE;
    IF p_owner IS NULL THEN
        RETURN;
    ELSIF p_alone THEN
        PERFORM FROM dewar.turn t WHERE t.number = p_number FOR UPDATE;
    ELSE
        PERFORM FROM dewar.turn t WHERE t.number = p_number FOR SHARE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'dewar.turn has lost rows' USING ERRCODE = 'DW003';
    END IF;
END
$$;

-- The epoch of a principal, or with NULL of everybody.
CREATE OR REPLACE FUNCTION dewar.present_1(p_owner bytea) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(e.epoch), 0) FROM dewar.epoch e WHERE e.owner IN ('', coalesce(p_owner, ''))
$$;

-- Whether a session of this lineage that began in this epoch may live.
CREATE OR REPLACE FUNCTION dewar.admits_1(p_owner bytea, p_lineage bigint, p_epoch bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (
        SELECT FROM dewar.epoch e
        WHERE e.owner IN ('', coalesce(p_owner, '')) AND e.epoch > p_epoch
            AND (e.owner = '' OR e.passes IS DISTINCT FROM p_lineage)
    )
$$;

-- What keeps a key from being free: a record, or a tombstone. An expired record whose guard is not over is one, too.
CREATE OR REPLACE FUNCTION dewar.standing_1(p_key bytea, p_now bigint)
RETURNS TABLE (live boolean, version bigint, epoch bigint, tombstone dewar.tombstone_1)
LANGUAGE sql STABLE AS $$
    SELECT NOT s.gone AND s.expires > p_now, s.version, coalesce(s.epoch, 0),
        CASE WHEN s.gone THEN ROW(s.why, s.nonce, s.made, s.expires, s.successor, s.successor_name)::dewar.tombstone_1
        ELSE ROW(0, 0, s.expires, s.guarded_until, NULL, NULL)::dewar.tombstone_1 END
    FROM dewar.session s WHERE s.key = p_key AND (s.expires > p_now OR s.guarded_until > p_now)
$$;

-- Tells whoever listens. A commit that notifies waits for every other that does, in the whole server; so nobody does where nobody listens.
-- Who begins to listen holds the lock alone: who is under way then is waited for, and who comes later sees the listener.
CREATE OR REPLACE FUNCTION dewar.tell_1(p_payloads text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE dewar.schema IN ROW SHARE MODE;
    IF NOT EXISTS (SELECT FROM dewar.schema WHERE listened > clock_timestamp()) THEN
        RETURN;
    END IF;
    IF cardinality(p_payloads) > 100 THEN
        PERFORM pg_notify('dewar:endings', '');
    ELSE
        PERFORM pg_notify('dewar:endings', payload) FROM unnest(p_payloads) payload;
    END IF;
END
$$;

-- Puts the tombstone in the place of the live records under these keys, and returns how many there were.
CREATE OR REPLACE FUNCTION dewar.bury_1(p_keys bytea[], p_tombstone dewar.tombstone_1, p_now bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    payloads text[];
BEGIN
    WITH buried AS (
        UPDATE dewar.session s SET gone = true, expires = greatest(p_tombstone.until, s.guarded_until), guarded_until = NULL,
            why = p_tombstone.why, nonce = p_tombstone.nonce, made = p_tombstone.made, successor = p_tombstone.successor,
            successor_name = p_tombstone.successor_name, owner = NULL, principal = NULL, label = NULL, lineage = NULL,
            epoch = NULL, data = ''
        WHERE s.key = ANY (p_keys) AND NOT s.gone AND s.expires > p_now
        RETURNING CASE WHEN s.name IS NULL THEN encode(s.key, 'hex')
            WHEN octet_length(s.name) > 7000 THEN '' ELSE '=' || s.name END AS payload
    )
    SELECT array_agg(payload) INTO payloads FROM buried;
    IF payloads IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM dewar.tell_1(payloads);
    RETURN cardinality(payloads);
END
$$;

-- A record under a key that is free; false: it is not.
CREATE OR REPLACE FUNCTION dewar.insert_1(
    p_key bytea, p_version bigint, p_record dewar.record_1, p_epoch bigint, p_now bigint
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dewar.session AS s (key, version, gone, name, expires, created, idle_seconds, idle_expires, absolute_expires,
        persistent, owner, principal, label, lineage, epoch, guarded_until, data)
    VALUES (p_key, p_version, false, p_record.name, p_record.expires, p_record.created, p_record.idle_seconds,
        p_record.idle_expires, p_record.absolute_expires, p_record.persistent, p_record.owner, p_record.principal,
        p_record.label, p_record.lineage, p_epoch, p_record.guarded_until, p_record.data)
    ON CONFLICT (key) DO UPDATE SET
        version = excluded.version, gone = false, expires = excluded.expires, created = excluded.created,
        idle_seconds = excluded.idle_seconds, idle_expires = excluded.idle_expires,
        absolute_expires = excluded.absolute_expires, persistent = excluded.persistent, owner = excluded.owner,
        principal = excluded.principal, label = excluded.label, lineage = excluded.lineage, epoch = excluded.epoch,
        guarded_until = excluded.guarded_until, data = excluded.data,
        why = NULL, nonce = NULL, made = NULL, successor = NULL, successor_name = NULL
    WHERE s.expires <= p_now AND coalesce(s.guarded_until, 0) <= p_now;
    RETURN FOUND;
END
$$;

-- Makes room for one more of the principal: how many had to give way, or -1 where none may.
CREATE OR REPLACE FUNCTION dewar.make_room_1(
    p_record dewar.record_1, p_from bytea, p_most bigint, p_tombstone dewar.tombstone_1, p_now bigint
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    others bytea[];
    too_many bigint;
BEGIN
    SELECT array_agg(s.key ORDER BY s.created, s.key) INTO others FROM dewar.session s
    WHERE s.owner = p_record.owner AND NOT s.gone AND s.expires > p_now
        AND s.lineage IS DISTINCT FROM p_record.lineage AND s.key IS DISTINCT FROM p_from;
    too_many := coalesce(cardinality(others), 0) - p_most + 1;
    IF too_many <= 0 THEN
        RETURN 0;
    ELSIF p_tombstone.why IS NULL THEN
        RETURN -1;
    END IF;
    RETURN dewar.bury_1(others[1:too_many], p_tombstone, p_now);
END
$$;

-- The answers of what follows. 0: done; 1: exists, or conflict; 2: gone; 3: outdated; 4: full.

CREATE OR REPLACE FUNCTION dewar.create_1(
    p_key bytea, p_version bigint, p_record dewar.record_1, p_most bigint, p_end dewar.tombstone_1, p_now bigint,
    OUT answer integer, OUT epoch bigint, OUT ended bigint, OUT why integer, OUT nonce bigint, OUT made bigint,
    OUT until bigint, OUT successor bytea, OUT successor_name text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    capped boolean := p_most IS NOT NULL AND p_record.owner IS NOT NULL;
    admitted boolean := true;
    standing record;
BEGIN
    PERFORM dewar.lock_1(p_record.owner, capped);
    epoch := p_record.epoch;
    IF epoch IS NULL THEN
        epoch := dewar.present_1(p_record.owner);
    ELSE
        admitted := dewar.admits_1(p_record.owner, p_record.lineage, epoch);
    END IF;
    ended := 0;
    LOOP
        IF admitted AND NOT capped AND dewar.insert_1(p_key, p_version, p_record, epoch, p_now) THEN
            answer := 0;
            RETURN;
        END IF;
        SELECT * INTO standing FROM dewar.standing_1(p_key, p_now);
        IF FOUND THEN
            answer := CASE WHEN standing.live THEN 1 ELSE 2 END;
            SELECT (standing.tombstone).* INTO why, nonce, made, until, successor, successor_name;
            RETURN;
        ELSIF NOT admitted THEN
            answer := 3;
            RETURN;
        ELSIF capped THEN
            ended := dewar.make_room_1(p_record, NULL, p_most, p_end, p_now);
            IF ended < 0 THEN
                answer := 4;
                RETURN;
            END IF;
            capped := false;
            IF NOT dewar.insert_1(p_key, p_version, p_record, epoch, p_now) THEN
                -- Another made the same one meanwhile: as if nothing had been done, once more.
                RAISE EXCEPTION 'dewar: the key was taken meanwhile' USING ERRCODE = 'serialization_failure';
            END IF;
            answer := 0;
            RETURN;
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION dewar.replace_1(
    p_key bytea, p_at bigint, p_version bigint, p_record dewar.record_1, p_now bigint,
    OUT answer integer, OUT why integer, OUT nonce bigint, OUT made bigint, OUT until bigint, OUT successor bytea,
    OUT successor_name text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given bigint := CASE WHEN p_record.owner IS NULL THEN NULL ELSE p_record.epoch END;
    changes_owner boolean := false;
    standing record;
BEGIN
    LOOP
        IF p_record.owner IS NOT NULL AND p_record.epoch IS NULL THEN
            given := dewar.present_1(p_record.owner);
        END IF;
        UPDATE dewar.session s SET
            version = p_version, expires = p_record.expires, created = p_record.created,
            idle_seconds = p_record.idle_seconds, idle_expires = p_record.idle_expires,
            absolute_expires = p_record.absolute_expires, persistent = p_record.persistent, owner = p_record.owner,
            principal = p_record.principal, label = p_record.label, lineage = p_record.lineage,
            epoch = coalesce(given, s.epoch), guarded_until = p_record.guarded_until, data = p_record.data
        WHERE s.key = p_key AND s.version = p_at AND NOT s.gone AND s.expires > p_now
            AND (changes_owner OR s.owner IS NOT DISTINCT FROM p_record.owner);
        IF FOUND THEN
            answer := 0;
            RETURN;
        END IF;
        SELECT * INTO standing FROM dewar.standing_1(p_key, p_now);
        IF FOUND AND standing.live AND standing.version = p_at THEN
            -- Only where it is to be another's: an end of all of theirs must see it.
            PERFORM dewar.lock_1(p_record.owner, false);
            changes_owner := true;
        ELSE
            answer := CASE WHEN standing.live THEN 1 ELSE 2 END;
            SELECT (standing.tombstone).* INTO why, nonce, made, until, successor, successor_name;
            RETURN;
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION dewar.touch_1(
    p_key bytea, p_at bigint, p_idle_expires bigint, p_now bigint,
    OUT answer integer, OUT why integer, OUT nonce bigint, OUT made bigint, OUT until bigint, OUT successor bytea,
    OUT successor_name text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    standing record;
BEGIN
    LOOP
        UPDATE dewar.session s SET idle_expires = p_idle_expires, expires = least(p_idle_expires, s.absolute_expires)
        WHERE s.key = p_key AND s.version = p_at AND NOT s.gone AND s.expires > p_now;
        IF FOUND THEN
            answer := 0;
            RETURN;
        END IF;
        SELECT * INTO standing FROM dewar.standing_1(p_key, p_now);
        CONTINUE WHEN FOUND AND standing.live AND standing.version = p_at;
        answer := CASE WHEN standing.live THEN 1 ELSE 2 END;
        SELECT (standing.tombstone).* INTO why, nonce, made, until, successor, successor_name;
        RETURN;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION dewar.delete_1(
    p_key bytea, p_name text, p_at bigint, p_tombstone dewar.tombstone_1, p_now bigint,
    OUT answer integer, OUT why integer, OUT nonce bigint, OUT made bigint, OUT until bigint, OUT successor bytea,
    OUT successor_name text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was record;
    standing record;
BEGIN
    LOOP
        SELECT s.gone, s.expires, s.version INTO was FROM dewar.session s WHERE s.key = p_key FOR UPDATE;
        IF NOT FOUND THEN
            answer := 2;
            IF p_at IS NULL THEN
                INSERT INTO dewar.session (key, name, version, gone, expires, created, idle_seconds, idle_expires,
                    persistent, why, nonce, made, successor, successor_name, data)
                VALUES (p_key, p_name, 0, true, p_tombstone.until, p_tombstone.made, 0, p_tombstone.until, false,
                    p_tombstone.why, p_tombstone.nonce, p_tombstone.made, p_tombstone.successor,
                    p_tombstone.successor_name, '')
                ON CONFLICT (key) DO NOTHING;
                CONTINUE WHEN NOT FOUND;
            END IF;
            RETURN;
        END IF;
        IF NOT was.gone AND was.expires > p_now THEN
            answer := 1;
            IF p_at IS NULL OR p_at = was.version THEN
                PERFORM dewar.bury_1(ARRAY[p_key], p_tombstone, p_now);
                answer := 0;
            END IF;
            RETURN;
        END IF;
        answer := 2;
        SELECT * INTO standing FROM dewar.standing_1(p_key, p_now);
        IF FOUND THEN
            SELECT (standing.tombstone).* INTO why, nonce, made, until, successor, successor_name;
        END IF;
        IF p_at IS NOT NULL THEN
            RETURN;
        END IF;
        -- The tombstone that was there stays, for as long as the later of both.
        IF until IS NULL THEN
            UPDATE dewar.session s SET gone = true, expires = p_tombstone.until, why = p_tombstone.why,
                nonce = p_tombstone.nonce, made = p_tombstone.made, successor = p_tombstone.successor,
                successor_name = p_tombstone.successor_name, guarded_until = NULL, owner = NULL, principal = NULL,
                label = NULL, lineage = NULL, epoch = NULL, data = ''
            WHERE s.key = p_key;
        ELSE
            until := greatest(until, p_tombstone.until);
            UPDATE dewar.session s SET gone = true, expires = delete_1.until, why = delete_1.why, nonce = delete_1.nonce,
                made = delete_1.made, successor = delete_1.successor, successor_name = delete_1.successor_name,
                guarded_until = NULL, owner = NULL, principal = NULL, label = NULL, lineage = NULL, epoch = NULL, data = ''
            WHERE s.key = p_key;
        END IF;
        RETURN;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION dewar.rename_1(
    p_from bytea, p_at bigint, p_to bytea, p_version bigint, p_record dewar.record_1, p_tombstone dewar.tombstone_1,
    p_most bigint, p_end dewar.tombstone_1, p_now bigint,
    OUT answer integer, OUT epoch bigint, OUT ended bigint, OUT why integer, OUT nonce bigint, OUT made bigint,
    OUT until bigint, OUT successor bytea, OUT successor_name text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    capped boolean := p_most IS NOT NULL AND p_record.owner IS NOT NULL;
    begun bigint;
    standing record;
BEGIN
    PERFORM dewar.lock_1(p_record.owner, capped);
    PERFORM FROM dewar.session s WHERE s.key = p_from FOR UPDATE;
    SELECT * INTO standing FROM dewar.standing_1(p_from, p_now);
    IF NOT FOUND OR NOT standing.live THEN
        answer := 2;
        SELECT (standing.tombstone).* INTO why, nonce, made, until, successor, successor_name;
        RETURN;
    ELSIF p_at <> standing.version THEN
        answer := 1;
        RETURN;
    END IF;
    begun := standing.epoch;
    epoch := coalesce(p_record.epoch, dewar.present_1(p_record.owner));
    -- What began before everybody's epoch was raised is about to be ended, also where somebody logs in to it now.
    IF begun < dewar.present_1(NULL) OR NOT dewar.admits_1(p_record.owner, p_record.lineage, epoch) THEN
        answer := 3;
        RETURN;
    END IF;
    -- A session of nobody's began when it did, whatever it is called since.
    IF p_record.owner IS NULL THEN
        epoch := begun;
    END IF;
    ended := 0;
    IF capped THEN
        ended := dewar.make_room_1(p_record, p_from, p_most, p_end, p_now);
        IF ended < 0 THEN
            answer := 4;
            RETURN;
        END IF;
    END IF;
    IF NOT dewar.insert_1(p_to, p_version, p_record, epoch, p_now) THEN
        RAISE EXCEPTION 'dewar: something stands under the new key' USING ERRCODE = 'DW002';
    END IF;
    PERFORM dewar.bury_1(ARRAY[p_from], p_tombstone, p_now);
    answer := 0;
END
$$;

-- Raises the epoch of a principal, whose lock is held alone.
CREATE OR REPLACE FUNCTION dewar.raise_1(p_owner bytea, p_passes bigint, p_now bigint) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO dewar.epoch AS e (owner, epoch, passes)
    SELECT p_owner, greatest(coalesce(max(o.epoch), 0) + 1, p_now), p_passes FROM dewar.epoch o
    ON CONFLICT (owner) DO UPDATE SET epoch = excluded.epoch, passes = excluded.passes
    RETURNING e.epoch
$$;

-- With p_one, this lineage alone ends. Else all end, but for the lineage p_but where it lives in the epoch p_began.
CREATE OR REPLACE FUNCTION dewar.revoke_1(
    p_owner bytea, p_one bigint, p_but bigint, p_began bigint, p_tombstone dewar.tombstone_1, p_now bigint
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    passes bigint;
    keys bytea[];
BEGIN
    PERFORM dewar.lock_1(p_owner, true);
    IF p_one IS NULL THEN
        passes := CASE WHEN dewar.admits_1(p_owner, p_but, p_began) THEN p_but END;
        PERFORM dewar.raise_1(p_owner, passes, p_now);
        SELECT array_agg(o.key) INTO keys FROM (
            SELECT s.key FROM dewar.session s
            WHERE s.owner = p_owner AND NOT s.gone AND s.expires > p_now AND s.lineage IS DISTINCT FROM passes
            ORDER BY s.key FOR UPDATE
        ) o;
    ELSE
        SELECT array_agg(o.key) INTO keys FROM (
            SELECT s.key FROM dewar.session s
            WHERE s.owner = p_owner AND NOT s.gone AND s.expires > p_now AND s.lineage = p_one
            ORDER BY s.key FOR UPDATE
        ) o;
    END IF;
    RETURN dewar.bury_1(keys, p_tombstone, p_now);
END
$$;

CREATE OR REPLACE FUNCTION dewar.raise_everybodys_1(p_now bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'dewar needs the transaction isolation READ COMMITTED' USING ERRCODE = 'DW001';
    END IF;
    LOCK TABLE dewar.turn IN EXCLUSIVE MODE;
    RETURN dewar.raise_1('', NULL, p_now);
END
$$;

-- Ends at most p_limit of the sessions that began before this epoch, beyond the key p_after. "last" is NULL where nothing is left.
-- Nobody who holds rows of several sessions is under way meanwhile.
CREATE OR REPLACE FUNCTION dewar.end_begun_before_1(
    p_epoch bigint, p_after bytea, p_limit bigint, p_tombstone dewar.tombstone_1, p_now bigint,
    OUT ended bigint, OUT last bytea
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    keys bytea[];
BEGIN
    LOCK TABLE dewar.turn IN EXCLUSIVE MODE;
    SELECT array_agg(o.key ORDER BY o.key) INTO keys FROM (
        SELECT s.key FROM dewar.session s
        WHERE s.key > p_after AND NOT s.gone AND s.expires > p_now AND coalesce(s.epoch, 0) < p_epoch
        ORDER BY s.key LIMIT p_limit FOR UPDATE
    ) o;
    last := keys[cardinality(keys)];
    ended := dewar.bury_1(keys, p_tombstone, p_now);
END
$$;

-- The epoch of a principal, or with NULL of everybody, for who asks for no more.
CREATE OR REPLACE FUNCTION dewar.epoch_1(p_owner bytea) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dewar.present_1(p_owner)
$$;

CREATE OR REPLACE FUNCTION dewar.count_1(p_now bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT count(*) FROM dewar.session s WHERE s.due > p_now / 3600000 AND NOT s.gone)
        + (SELECT count(*) FROM dewar.session s WHERE s.due = p_now / 3600000 AND NOT s.gone AND s.expires > p_now)
$$;

-- Puts tombstones in the place of expired records whose guard is not over, and removes all else that has expired: at most
-- p_limit of either. What somebody is writing is left for the next time.
CREATE OR REPLACE FUNCTION dewar.purge_1(p_limit bigint, p_now bigint, OUT ended bigint, OUT removed bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH expired AS (
        SELECT s.key FROM dewar.session s
        WHERE s.guarded_until > p_now AND s.due <= p_now / 3600000 AND s.expires <= p_now
        ORDER BY s.due LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    -- They stand where they expired, and no purge meets them again before their guard is over.
    UPDATE dewar.session s SET gone = true, made = s.expires, expires = s.guarded_until, guarded_until = NULL, why = 0,
        nonce = 0, owner = NULL, principal = NULL, label = NULL, lineage = NULL, epoch = NULL, data = ''
    FROM expired WHERE s.key = expired.key;
    GET DIAGNOSTICS ended = ROW_COUNT;
    removed := 0;
    -- It would walk over all that are to be tombstones yet, each time.
    IF ended = p_limit THEN
        RETURN;
    END IF;
    WITH expired AS (
        SELECT s.key FROM dewar.session s
        WHERE s.due <= p_now / 3600000 AND s.expires <= p_now AND coalesce(s.guarded_until, 0) <= p_now
        ORDER BY s.due LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    DELETE FROM dewar.session s USING expired WHERE s.key = expired.key;
    GET DIAGNOSTICS removed = ROW_COUNT;
END
$$;

-- Whether a purge is due; whoever is told so purges.
CREATE OR REPLACE FUNCTION dewar.claim_purge_1(p_every bigint, p_now bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE dewar.schema SET purged = p_now WHERE purged <= p_now - p_every OR purged > p_now + p_every;
    RETURN FOUND;
END
$$;

-- Until when somebody listens, by the server's clock.
CREATE OR REPLACE FUNCTION dewar.listen_1(p_seconds bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE dewar.schema IN EXCLUSIVE MODE;
    UPDATE dewar.schema SET listened = greatest(listened, clock_timestamp() + p_seconds * interval '1 second');
END
$$;
