//! The verbs that take several statements. Each is one transaction: what it looks at is locked and read in the first round trip,
//! and what it writes is committed in the last.
//!
//! Whoever writes a session of a principal holds that principal's row of `dewar_epoch`, and before it everybody's: shared, or alone
//! where sessions are counted or ended. So whoever ends sessions finds all that began before.

use mysql_async::Value;

use super::{
    connection::{Failure, Lease},
    rows::{
        LONGEST_PRINCIPAL, Standing, id, is_too_long, millis, new_id, signed, standing, state_columns, take, tombstone,
        whose,
    },
    script::{Done, Script, roll_back},
    statements::{self, ATTEMPTS, add_epoch, put_tombstone},
};
use crate::store::{
    Cap, Create, Delete, Record, Rename, Replace, Revoke, StoreKey, Timestamp, Tombstone, Version, Written,
};

type Result<T> = std::result::Result<T, Failure>;

macro_rules! epoch {
    ($lock:literal) => {
        concat!("SELECT epoch, passes FROM {db}.dewar_epoch WHERE whose = ? ", $lock)
    };
}

const SHARED: &str = epoch!("LOCK IN SHARE MODE");

const ALONE: &str = epoch!("FOR UPDATE");

const GREATEST: &str = "SELECT COALESCE(MAX(epoch), 0) FROM {db}.dewar_epoch";

const RAISE: &str = "UPDATE {db}.dewar_epoch SET epoch = ?, passes = ? WHERE whose = ?";

/// Locks the row also where what is there has expired.
const LOCKED: &str = concat!("SELECT ", state_columns!(), " FROM {db}.dewar_session WHERE id = ? FOR UPDATE");

/// The oldest of a principal's sessions, all but so many; without one lineage and one key.
const TOO_MANY: &str = "\
    SELECT id FROM {db}.dewar_session FORCE INDEX (dewar_session_principal) \
    WHERE principal = ? AND gone = 0 AND expires > ? AND lineage <> ? AND id <> ? \
    ORDER BY created DESC, id DESC LIMIT 18446744073709551615 OFFSET ?";

const BURY: &str = put_tombstone!("PRIMARY": "id = ?");

const BURY_LIVING: &str = put_tombstone!("PRIMARY": "id = ? AND expires > ?");

const BURY_ALL_OF: &str =
    put_tombstone!("dewar_session_principal": "principal = ? AND expires > ? AND NOT (lineage <=> ?)");

const BURY_LINEAGE: &str = put_tombstone!("dewar_session_principal": "principal = ? AND expires > ? AND lineage = ?");

const BURY_BETWEEN: &str = put_tombstone!("PRIMARY": "id > ? AND id <= ? AND expires > ? AND epoch < ?");

const LAST_BEGUN_BEFORE: &str = "\
    SELECT MAX(id) FROM (SELECT id FROM {db}.dewar_session WHERE id > ? AND gone = 0 AND expires > ? AND epoch < ? \
    ORDER BY id LIMIT ?) AS some";

macro_rules! erect {
    ($verb:literal) => {
        concat!(
            $verb,
            " INTO {db}.dewar_session (expires, why, nonce, made, successor, id, created, idle_expires, version, gone, idle_seconds, \
             persistent, lineage, epoch) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 1, 0, 0, 0, 0)"
        )
    };
}

const ERECT_NEW: &str = erect!("INSERT");

/// In the place of whatever stands there.
pub(super) const ERECT_ANYWAY: &str = erect!("REPLACE");

const ERECT: &str = "\
    UPDATE {db}.dewar_session SET expires = ?, why = ?, nonce = ?, made = ?, successor = ?, gone = 1, guarded_until = NULL, \
    principal = NULL, label = NULL, lineage = 0, epoch = 0, data = NULL WHERE id = ?";

/// Rows that others have locked are left for the next time.
const EXPIRED: &str = "\
    SELECT id, COALESCE(guarded_until, 0) > ? FROM {db}.dewar_session FORCE INDEX (dewar_session_expires) WHERE expires <= ? \
    ORDER BY expires LIMIT ? FOR UPDATE SKIP LOCKED";

/// One by one: for a list of many, the server may look at every row, and wait for what others have locked.
const REMOVE: &str = "DELETE FROM {db}.dewar_session WHERE id = ?";

/// Its tombstone stands where it expired, and no purge meets it again before its guard is over.
const BURY_EXPIRED: &str = "\
    UPDATE {db}.dewar_session SET gone = 1, made = expires, expires = guarded_until, guarded_until = NULL, why = 0, nonce = 0, \
    principal = NULL, label = NULL, lineage = 0, epoch = 0, data = NULL WHERE id = ?";

/// The epochs that a session has to have begun in, under a lock.
struct Epochs {
    everybodys: i64,
    own: i64,
    passes: Option<i64>,
}

impl Epochs {
    /// `None`: the principal has no row yet.
    fn of(everybodys: &mut Done, own: &mut Done) -> Result<Option<Self>> {
        let (Some(everybodys), Some(own)) = (everybodys.rows.first_mut(), own.rows.first_mut()) else {
            return Ok(None);
        };
        Ok(Some(Self { everybodys: take(everybodys, 0)?, own: take(own, 0)?, passes: take(own, 1)? }))
    }

    fn present(&self) -> i64 {
        self.everybodys.max(self.own)
    }

    /// Whether a session of this lineage that began in this epoch may live.
    fn admit(&self, lineage: u64, began: i64) -> bool {
        began >= self.everybodys && (began >= self.own || self.passes == Some(lineage as i64))
    }

    /// The epoch that a new record carries. `None`: it was raised since the one that the record began in.
    fn of_record(&self, record: &Record) -> Option<i64> {
        let Some(began) = record.epoch.map(signed) else { return Some(self.present()) };
        self.admit(record.lineage, began).then_some(began)
    }

    fn raised(&self, now: Timestamp) -> i64 {
        (self.present() + 1).max(millis(now))
    }
}

/// Begins a transaction under the locks of whoever writes a session of this principal.
fn locks(principal: Option<&str>, own: &str) -> Script {
    Script::transaction().then(SHARED, &[whose(None)]).then(own, &[whose(principal)])
}

/// Splits what a script that began with [`locks`] came to.
fn split(done: &mut [Done]) -> Result<(Option<Epochs>, &mut [Done])> {
    match done {
        [_, _, everybodys, own, rest @ ..] => Ok((Epochs::of(everybodys, own)?, rest)),
        _ => Err(UNEXPECTED),
    }
}

const NO_EPOCH: &str = "the epoch of the principal cannot be locked";

const UNEXPECTED: Failure = Failure::Told("the server gave another number of answers than it was asked for");

fn locked(done: &mut Done, now: Timestamp) -> Result<Option<Standing>> {
    done.rows.first_mut().map_or(Ok(None), |row| standing(row, now))
}

/// A cap, and whose sessions it counts.
struct Counted<'a> {
    cap: &'a Cap,
    principal: &'a str,
}

impl<'a> Counted<'a> {
    /// `None`: there is no cap, or nobody to count for.
    fn of(record: &'a Record, cap: Option<&'a Cap>) -> Option<Self> {
        Some(Self { cap: cap?, principal: record.principal.as_deref()? })
    }

    fn look(&self, script: Script, record: &Record, from: Value, now: Timestamp) -> Script {
        let others = self.cap.most.get() - 1;
        let values =
            [self.principal.as_bytes().into(), millis(now).into(), (record.lineage as i64).into(), from, others.into()];
        script.then(TOO_MANY, &values)
    }

    /// Which sessions give way; `None`: there is no room, and none does.
    fn give_way(&self, done: &mut Done) -> Result<Option<Vec<Value>>> {
        let ids: Vec<Value> = done.rows.iter_mut().map(|row| take(row, 0)).collect::<Result<_>>()?;
        Ok((ids.is_empty() || self.cap.end_oldest.is_some()).then_some(ids))
    }
}

/// Under a cap that counts.
#[allow(clippy::too_many_arguments)] // Each is one fact of one step.
pub(super) async fn create(
    connection: &mut Lease,
    key: &StoreKey,
    version: Version,
    record: &Record,
    cap: Option<&Cap>,
    now: Timestamp,
) -> Result<Create> {
    let Some(counted) = Counted::of(record, cap) else {
        return statements::create(connection, key, version, record, now).await;
    };
    for _ in 0..ATTEMPTS {
        let look = locks(Some(counted.principal), ALONE).then(LOCKED, &[id(key)]);
        let mut done = counted.look(look, record, id(key), now).run(connection).await?;
        let (epochs, [there, too_many]) = split(&mut done)? else { return Err(UNEXPECTED) };
        let (Some(epochs), there) = (epochs, locked(there, now)?) else {
            roll_back(connection).await?;
            add_epoch(connection, Some(counted.principal)).await?;
            continue;
        };
        let refused = match (there, epochs.of_record(record), counted.give_way(too_many)?) {
            (Some(there), ..) => there.tombstone().map_or(Create::Exists, Create::Gone),
            (None, None, _) => Create::Outdated,
            (None, Some(_), None) => Create::Full,
            (None, Some(epoch), Some(give_way)) => {
                if statements::insert(connection, key, version, record, epoch).await? {
                    let ended = commit(connection, None, give_way, cap, now).await?;
                    return Ok(Create::Created(Written { version, epoch: epoch as u64, ended }));
                }
                roll_back(connection).await?;
                statements::remove_expired(connection, key, now).await?;
                continue;
            }
        };
        roll_back(connection).await?;
        return Ok(refused);
    }
    Err(Failure::Told("what stands under the key changes all the time"))
}

/// Commits an insertion with what has to give way to it. Returns how many ended for the cap.
async fn commit(
    connection: &mut Lease,
    from: Option<(&StoreKey, &Tombstone)>,
    give_way: Vec<Value>,
    cap: Option<&Cap>,
    now: Timestamp,
) -> Result<u32> {
    let mut script = Script::default();
    if let Some(dead) = cap.and_then(|cap| cap.end_oldest.as_ref()) {
        for id in &give_way {
            let mut values = tombstone(dead)?.to_vec();
            values.extend([id.clone(), millis(now).into()]);
            script = script.then(BURY_LIVING, &values);
        }
    }
    if let Some((from, dead)) = from {
        let mut values = tombstone(dead)?.to_vec();
        values.push(id(from));
        script = script.then(BURY, &values);
    }
    let done = script.commit().run(connection).await?;
    Ok(done.iter().take(give_way.len()).map(|done| done.changed as u32).sum())
}

/// `None`: something stands under the new key already, and nothing was written.
#[allow(clippy::too_many_arguments)] // Each is one fact of one step.
pub(super) async fn rename(
    connection: &mut Lease,
    from: &StoreKey,
    at: Option<Version>,
    to: &StoreKey,
    version: Version,
    record: &Record,
    dead: &Tombstone,
    cap: Option<&Cap>,
    now: Timestamp,
) -> Result<Option<Rename>> {
    let principal = record.principal.as_deref();
    let counted = Counted::of(record, cap);
    for _ in 0..ATTEMPTS {
        let lock = if counted.is_some() { ALONE } else { SHARED };
        let mut look = locks(principal, lock).then(LOCKED, &[id(from)]);
        if let Some(counted) = &counted {
            look = counted.look(look, record, id(from), now);
        }
        let mut done = look.run(connection).await?;
        let (epochs, rest) = split(&mut done)?;
        let [there, too_many @ ..] = rest else { return Err(UNEXPECTED) };
        let Some(epochs) = epochs else {
            roll_back(connection).await?;
            add_epoch(connection, principal).await?;
            continue;
        };
        let give_way = match (&counted, too_many) {
            (Some(counted), [too_many]) => counted.give_way(too_many)?,
            _ => Some(Vec::new()),
        };
        let refused = match (locked(there, now)?, epochs.of_record(record), give_way) {
            (Some(Standing::Live { version: found, .. }), ..) if at.is_some_and(|at| at != found) => Rename::Conflict,
            // What began before everybody's epoch was raised is about to be ended, also where somebody logs in to it now.
            (Some(Standing::Live { epoch: begun, .. }), ..) if begun < epochs.everybodys => Rename::Outdated,
            (Some(Standing::Live { .. }), None, _) => Rename::Outdated,
            (Some(Standing::Live { .. }), Some(_), None) => Rename::Full,
            (Some(Standing::Live { epoch: begun, .. }), Some(epoch), Some(give_way)) => {
                // A session of nobody's began when it did, whatever it is called since.
                let carried = if principal.is_some() { epoch } else { begun };
                if statements::insert(connection, to, version, record, carried).await? {
                    let ended = commit(connection, Some((from, dead)), give_way, cap, now).await?;
                    let epoch = if principal.is_some() { epoch as u64 } else { 0 };
                    return Ok(Some(Rename::Renamed(Written { version, epoch, ended })));
                }
                roll_back(connection).await?;
                if !statements::remove_expired(connection, to, now).await? {
                    return Ok(None);
                }
                continue;
            }
            (dead, ..) => Rename::Gone(dead.and_then(Standing::tombstone)),
        };
        roll_back(connection).await?;
        return Ok(Some(refused));
    }
    Err(Failure::Told("what stands under the key changes all the time"))
}

/// Where a record is given to somebody, it carries the epoch that is the present one when it is written.
pub(super) async fn replace(
    connection: &mut Lease,
    key: &StoreKey,
    at: Version,
    version: Version,
    record: &Record,
    now: Timestamp,
) -> Result<Replace> {
    let (Some(principal), None) = (record.principal.as_deref(), record.epoch) else {
        let epoch = record.principal.as_ref().and(record.epoch).map(signed);
        return statements::replace(connection, key, at, version, record, epoch, now).await;
    };
    for _ in 0..ATTEMPTS {
        let mut done = locks(Some(principal), SHARED).run(connection).await?;
        let (Some(epochs), _) = split(&mut done)? else {
            roll_back(connection).await?;
            add_epoch(connection, Some(principal)).await?;
            continue;
        };
        let replaced = statements::replace(connection, key, at, version, record, Some(epochs.present()), now).await?;
        Script::default().commit().run(connection).await?;
        return Ok(replaced);
    }
    Err(Failure::Told(NO_EPOCH))
}

pub(super) async fn delete(
    connection: &mut Lease,
    key: &StoreKey,
    at: Option<Version>,
    dead: &Tombstone,
    now: Timestamp,
) -> Result<Delete> {
    for _ in 0..ATTEMPTS {
        if statements::bury(connection, key, at, dead, now).await? {
            return Ok(Delete::Deleted);
        }
        // Under a name that is too long no record can be made, either.
        if at.is_some() || is_too_long(key) {
            return statements::not_deleted(connection, key, now).await;
        }
        let mut done = Script::transaction().then(LOCKED, &[id(key)]).run(connection).await?;
        let Some(there) = done.last_mut() else { return Err(UNEXPECTED) };
        let statement = if there.rows.is_empty() { ERECT_NEW } else { ERECT };
        let (erected, gone) = match locked(there, now)? {
            Some(Standing::Live { .. }) => {
                roll_back(connection).await?;
                continue;
            }
            Some(Standing::Dead(found)) => {
                let stays = found.until(Some(dead.until));
                (stays.clone(), Some(stays))
            }
            None => (dead.clone(), None),
        };
        let mut values = tombstone(&erected)?.to_vec();
        values.push(new_id(key)?);
        match Script::default().then(statement, &values).commit().run(connection).await {
            Ok(_) => return Ok(Delete::Gone(gone)),
            // Somebody was faster: nothing that can be locked stood there.
            Err(failure) if failure.is_duplicate() => roll_back(connection).await?,
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Told("what stands under the key changes all the time"))
}

pub(super) async fn revoke(
    connection: &mut Lease,
    principal: &str,
    which: Revoke,
    dead: &Tombstone,
    now: Timestamp,
) -> Result<u64> {
    if principal.len() > LONGEST_PRINCIPAL {
        return Ok(0);
    }
    for _ in 0..ATTEMPTS {
        let mut done = locks(Some(principal), ALONE).run(connection).await?;
        let (Some(epochs), _) = split(&mut done)? else {
            roll_back(connection).await?;
            add_epoch(connection, Some(principal)).await?;
            continue;
        };
        let (end, lineage, raises) = match which {
            Revoke::All => (BURY_ALL_OF, None, true),
            Revoke::AllBut { lineage, epoch } => {
                let lives = epochs.admit(lineage, signed(epoch));
                (BURY_ALL_OF, lives.then_some(lineage as i64), true)
            }
            Revoke::Lineage(lineage) => (BURY_LINEAGE, Some(lineage as i64), false),
        };
        let mut values = tombstone(dead)?.to_vec();
        values.extend([principal.as_bytes().into(), millis(now).into(), lineage.into()]);
        let mut script = Script::default().then(end, &values);
        if raises {
            let raised = [epochs.raised(now).into(), lineage.into(), whose(Some(principal))];
            script = script.then(RAISE, &raised);
        }
        let done = script.commit().run(connection).await?;
        return Ok(done.first().map_or(0, |done| done.changed));
    }
    Err(Failure::Told(NO_EPOCH))
}

/// Raises everybody's epoch: what began before has a lower one.
pub(super) async fn raise_everyones(connection: &mut Lease, now: Timestamp) -> Result<i64> {
    let look = Script::transaction().then(ALONE, &[whose(None)]).then(GREATEST, &[]);
    let mut done = look.run(connection).await?;
    let greatest: i64 = match done.last_mut().and_then(|done| done.rows.first_mut()) {
        Some(row) => take(row, 0)?,
        None => return Err(UNEXPECTED),
    };
    let raised = (greatest + 1).max(millis(now));
    let raise =
        Script::default().then(RAISE, &[raised.into(), Value::NULL, whose(None)]).commit().run(connection).await?;
    match raise.first() {
        Some(done) if done.changed == 1 => Ok(raised),
        _ => Err(Failure::Told("everybody's row of dewar_epoch is missing")),
    }
}

/// Ends at most `limit` of the sessions that began before this epoch, beyond the row `after`. Returns how many, and the
/// last row. `None`: nothing is left; nothing that began before is added any more.
pub(super) async fn end_begun_before(
    connection: &mut Lease,
    epoch: i64,
    after: &[u8],
    limit: u32,
    dead: &Tombstone,
    now: Timestamp,
) -> Result<Option<(u64, Vec<u8>)>> {
    let (after, now) = (Value::from(after), Value::from(millis(now)));
    let look = Script::default().then(LAST_BEGUN_BEFORE, &[after.clone(), now.clone(), epoch.into(), limit.into()]);
    let mut done = look.run(connection).await?;
    let last = done.first_mut().and_then(|done| done.rows.first_mut()).map(|row| take::<Option<Vec<u8>>>(row, 0));
    let Some(last) = last.transpose()?.flatten() else { return Ok(None) };
    let mut values = tombstone(dead)?.to_vec();
    values.extend([after, last.as_slice().into(), now, epoch.into()]);
    let done = Script::transaction().then(BURY_BETWEEN, &values).commit().run(connection).await?;
    Ok(Some((done.get(2).map_or(0, |done| done.changed), last)))
}

/// Puts tombstones in the place of expired records whose guard is not over, and removes all else that has expired: at most `limit`
/// together. Returns how many it met, and how many of them it removed.
pub(super) async fn purge(connection: &mut Lease, limit: u32, now: Timestamp) -> Result<(u32, usize)> {
    let now = Value::from(millis(now));
    let look = Script::transaction().then(EXPIRED, &[now.clone(), now, limit.into()]);
    let mut done = look.run(connection).await?;
    let Some(Done { rows, .. }) = done.last_mut() else { return Err(UNEXPECTED) };
    let (met, mut removed, mut script) = (rows.len() as u32, 0, Script::default());
    for row in rows.iter_mut() {
        let is_guarded: bool = take(row, 1)?;
        removed += usize::from(!is_guarded);
        script = script.then(if is_guarded { BURY_EXPIRED } else { REMOVE }, &[take(row, 0)?]);
    }
    script.commit().run(connection).await?;
    Ok((met, removed))
}
