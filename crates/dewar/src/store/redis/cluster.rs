//! Sessions in a Redis Cluster, where a step touches one slot.
//!
//! A record stands under its own key, as on one server. What is known of a principal, the epoch and the list of sessions, is one hash, `dewar-index:` and
//! the principal, and is the authority: a session is listed before its record is written.
//!
//! - `load` and `replace` touch the record alone. A touch, and a replace that moves the expiry by a tenth of the idle timeout, tell the index
//!   afterwards. The index lists the session again where it had been lost, or ends it where it was to end.
//! - `create` enlists, and then writes. Whoever revokes raises the epoch and takes the list in one step, and leaves a tombstone under every key
//!   that is listed, also where nothing stands yet: what is written later finds it. An entry whose record never came is taken out later.
//! - `rename` puts the tombstone into the place of the old record in one step, with the new record in it: it is [on its way](layout::moving). Then the
//!   new record is written, and the tombstone left alone. Whoever meets it on its way brings it there first: for a minute. After that it has
//!   ended, and its new id was never given to anybody.
//! - A record is written only where its key was looked at less than half a minute before, by the clock of its node. So a client that was stopped
//!   between two steps for longer than tombstones stand brings nothing back.
//! - Everybody's epoch stands in `dewar-epochs`. It is read after each record that was written under a new key: whoever raised it before goes
//!   through all keys after.

mod ends;
mod index;
mod nodes;
mod renames;
mod scan;
mod scripts;
mod strings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join3;
use redis::{Client, ConnectionInfo, RedisResult, Value, cmd};

pub(super) use self::strings::Strings;
use self::{
    ends::Meant,
    index::{Entry, Listed},
    nodes::{Call, Nodes},
    scripts::{ANOTHERS, BARRED, LATE, LIVES, MINE},
};
use super::{
    layout::{self, Moving},
    scripts::{DONE, GONE, OUTDATED},
    tls::Certificates,
    unknown, written,
};
use crate::store::{
    Cap, Create, Delete, GONE_FOR, Load, Record, Replace, StoreError, StoreKey, Timestamp, Tombstone, Touch, Version,
    Why,
};

const EPOCHS: &str = "dewar-epochs";
/// Never there.
const PROBED: &str = "dewar-probed";
const PURGED: &str = "dewar-purged";

/// How often an epoch is taken anew that was raised meanwhile.
const RAISES: usize = 3;

type Digest = [u8; 32];

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    nodes: Nodes,
    /// Everybody's epoch, as it was read last.
    everyone: Arc<AtomicU64>,
}

/// What a script on a record answered.
enum Said {
    Nothing,
    /// A record stands there: another one, or another version of it.
    Lives,
    Done,
    Outdated,
    /// The very record stands there.
    Mine,
    Late,
    Anothers,
    Barred,
    /// The epoch of a record whose index is to be told.
    Epoch([u8; 8]),
    Tombstone(Tombstone, Option<Moving>),
    Parts(Vec<Vec<u8>>),
}

impl Said {
    fn read(key: &StoreKey, value: Value) -> Result<Self, StoreError> {
        Ok(match value {
            Value::Int(GONE) => Self::Nothing,
            Value::Int(LIVES) => Self::Lives,
            Value::Int(DONE) => Self::Done,
            Value::Int(OUTDATED) => Self::Outdated,
            Value::Int(MINE) => Self::Mine,
            Value::Int(LATE) => Self::Late,
            Value::Int(ANOTHERS) => Self::Anothers,
            Value::Int(BARRED) => Self::Barred,
            Value::BulkString(bytes) => match <[u8; 8]>::try_from(bytes.as_slice()) {
                Ok(epoch) => Self::Epoch(epoch),
                Err(_) => {
                    let moving = layout::moving(&bytes);
                    Self::Tombstone(layout::decode_tombstone(key, bytes)?, moving)
                }
            },
            value @ Value::Array(_) => Self::Parts(redis::from_redis_value(value).map_err(|error| unknown(&error))?),
            other => return Err(unknown(&other)),
        })
    }

    /// Whose a record was that is no more.
    fn owner(parts: &[Vec<u8>]) -> Option<(&str, [u8; 8])> {
        let [principal, lineage] = parts else { return None };
        let principal = std::str::from_utf8(principal).ok().filter(|principal| !principal.is_empty())?;
        Some((principal, lineage.as_slice().try_into().ok()?))
    }
}

/// What stands under a key, and when it was looked at by the clock of its node.
struct Checked {
    at: u64,
    stands: Option<Standing>,
}

enum Standing {
    Record,
    Tombstone(Tombstone),
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, certificates: Option<Certificates>, limit: Duration) -> Self {
        Self { nodes: Nodes::new(seeds, certificates, limit), everyone: Arc::default() }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { nodes: self.nodes.within(limit), ..self }
    }

    pub(super) async fn client(&self) -> RedisResult<Client> {
        self.nodes.client().await
    }

    /// What a script says of a record. One that is on its way is brought there first.
    async fn ask(&self, what: &str, key: &StoreKey, call: Call, now: Timestamp) -> Result<Said, StoreError> {
        let said = Said::read(key, self.nodes.ask(what, call).await?)?;
        match said {
            Said::Tombstone(tombstone, Some(moving)) => {
                self.arrive(key, &moving, now).await?;
                Ok(Said::Tombstone(tombstone, None))
            }
            said => Ok(said),
        }
    }

    async fn check(&self, key: &StoreKey, now: Timestamp) -> Result<Checked, StoreError> {
        let call = Call::script(&scripts::CHECK, &key.to_string(), now).arg(&key.digest()[..]).repeatable();
        let (at, stands): (u64, Value) = self.nodes.ask("create", call).await?;
        let stands = match stands {
            Value::Int(_) => None,
            stands => Some(match Said::read(key, stands)? {
                Said::Tombstone(tombstone, moving) => {
                    if let Some(moving) = moving {
                        self.arrive(key, &moving, now).await?;
                    }
                    Standing::Tombstone(tombstone)
                }
                _ => Standing::Record,
            }),
        };
        Ok(Checked { at, stands })
    }

    /// Puts a record where nothing stands. It must have been looked at not long before, or (`None`) be nobody's.
    async fn put(
        &self,
        key: &StoreKey,
        record: &[u8],
        checked: Option<u64>,
        now: Timestamp,
    ) -> Result<Said, StoreError> {
        let call = Call::script(&scripts::PUT, &key.to_string(), now).arg(record).arg(&key.digest()[..]);
        let call = call.arg(checked.map(|at| at.to_string()).unwrap_or_default()).repeatable();
        Said::read(key, self.nodes.ask("create", call).await?)
    }

    /// Everybody's epoch.
    async fn everyones(&self) -> Result<u64, StoreError> {
        let mut read = cmd("HGET");
        read.arg(EPOCHS).arg("everyone");
        let epoch: Option<u64> = self.nodes.ask("read the epoch", Call::read(EPOCHS, read)).await?;
        let epoch = epoch.unwrap_or(0);
        self.everyone.fetch_max(epoch, Relaxed);
        Ok(epoch)
    }

    /// Draws an epoch that is later than any before; with it, everybody's.
    async fn draw(&self, is_everyones: bool, now: Timestamp) -> Result<(u64, u64), StoreError> {
        let draw = Call::script(&scripts::DRAW, EPOCHS, now).arg(if is_everyones { "everyone" } else { "" });
        self.nodes.ask("revoke", draw.repeatable()).await
    }

    /// Everybody's epoch may have been raised while a record was written: then whoever raised it may have gone through the keys before. A record that
    /// began in the present takes the later epoch, any other ends. Whether it stays.
    async fn keeps_up(
        &self,
        key: &StoreKey,
        version: Version,
        epoch: &mut u64,
        is_present: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        loop {
            let everyones = self.everyones().await?;
            if everyones <= *epoch {
                return Ok(true);
            }
            if !is_present {
                self.end(key, &ended(now), &Meant { before: Some(everyones), ..Meant::default() }, false, now).await?;
                return Ok(false);
            }
            let call = Call::script(&scripts::RESTAMP, &key.to_string(), now);
            let call = call.arg(&version.bits().to_be_bytes()[..]).arg(&key.digest()[..]);
            let call = call.arg(&everyones.to_be_bytes()[..]).repeatable();
            match Said::read(key, self.nodes.ask("create", call).await?)? {
                Said::Done => *epoch = everyones,
                // Somebody has ended or changed it since: it was there.
                _ => return Ok(true),
            }
        }
    }

    pub(super) async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        match self.read(key, now).await? {
            Some(bytes) => layout::decode(key, bytes, now),
            None => Ok(Load::Missing),
        }
    }

    /// What stands there, once all that is on its way from there has arrived.
    async fn read(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let name = key.to_string();
        let mut read = cmd("GET");
        read.arg(&name);
        let bytes: Option<Vec<u8>> = self.nodes.ask("load", Call::read(&name, read)).await?;
        if let Some(moving) = bytes.as_deref().and_then(layout::moving) {
            self.arrive(key, &moving, now).await?;
        }
        Ok(bytes)
    }

    pub(super) async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        if record.principal.is_none() {
            return self.create_nobodys(key, version, record, now).await;
        }
        // What gives way must not do so in vain: with a cap one after the other.
        let enlists =
            async { if cap.is_some() { Ok(None) } else { self.enlist(key, &record, None, None, now).await.map(Some) } };
        let (checked, everyones, enlisted) = join3(self.check(key, now), self.everyones(), enlists).await;
        let (checked, everyones) = (checked?, everyones?);
        match checked.stands {
            Some(Standing::Record) => return Ok(Create::Exists),
            Some(Standing::Tombstone(tombstone)) => return Ok(Create::Gone(tombstone)),
            None => {}
        }
        if record.epoch.is_some_and(|epoch| epoch < everyones) {
            return Ok(Create::Outdated);
        }
        let enlisted = match enlisted? {
            Some(enlisted) => enlisted,
            None => self.enlist(key, &record, None, cap, now).await?,
        };
        let (own, leaving) = match enlisted {
            Listed::In { epoch, leaving } => (epoch, leaving),
            Listed::Outdated | Listed::Ended => return Ok(Create::Outdated),
            Listed::Full => return Ok(Create::Full),
        };
        let is_present = record.epoch.is_none();
        let mut epoch = record.epoch.unwrap_or(own.max(everyones));
        let gave_way = self.end_leaving(&record, &leaving, cap, now).await?;
        let record = Record { epoch: Some(epoch), ..record };
        match self.put(key, &layout::encode(&record, version), Some(checked.at), now).await? {
            Said::Done | Said::Mine => {}
            Said::Lives => return Ok(Create::Exists),
            // It had been listed: it was there, and was ended since.
            Said::Tombstone(..) if is_present => {
                return Ok(Create::Created(written(&record, version, epoch, gave_way)));
            }
            Said::Tombstone(tombstone, _) => return Ok(Create::Gone(tombstone)),
            Said::Late => return Err(late()),
            _ => return Err(unknown(&"create")),
        }
        Ok(match self.keeps_up(key, version, &mut epoch, is_present, now).await? {
            true => Create::Created(written(&record, version, epoch, gave_way)),
            false => Create::Outdated,
        })
    }

    async fn create_nobodys(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let is_present = record.epoch.is_none();
        let mut epoch = match record.epoch {
            None => self.everyone.load(Relaxed),
            Some(epoch) if epoch < self.everyones().await? => {
                return Ok(match self.check(key, now).await?.stands {
                    None => Create::Outdated,
                    Some(Standing::Record) => Create::Exists,
                    Some(Standing::Tombstone(tombstone)) => Create::Gone(tombstone),
                });
            }
            Some(epoch) => epoch,
        };
        let record = Record { epoch: Some(epoch), ..record };
        match self.put(key, &layout::encode(&record, version), None, now).await? {
            Said::Done | Said::Mine => {}
            Said::Lives => return Ok(Create::Exists),
            Said::Tombstone(tombstone, moving) => {
                if let Some(moving) = moving {
                    self.arrive(key, &moving, now).await?;
                }
                return Ok(Create::Gone(tombstone));
            }
            _ => return Err(unknown(&"create")),
        }
        Ok(match self.keeps_up(key, version, &mut epoch, is_present, now).await? {
            true => Create::Created(written(&record, version, epoch, 0)),
            false => Create::Outdated,
        })
    }

    pub(super) async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let bytes = layout::encode(&record, version);
        let call = |present: &[u8]| {
            let call = Call::script(&scripts::REPLACE, &key.to_string(), now).arg(&at.bits().to_be_bytes()[..]);
            call.arg(&bytes[..]).arg(&key.digest()[..]).arg(present)
        };
        let mut said = self.ask("replace", key, call(b""), now).await?;
        if let Said::Anothers = said {
            let mut present = 0;
            if record.principal.is_some() {
                let listed = self.enlist(key, &Record { epoch: None, ..record.clone() }, None, None, now).await?;
                let Listed::In { epoch, .. } = listed else {
                    // Its lineage has ended.
                    self.end(key, &ended(now), &Meant::default(), false, now).await?;
                    return Ok(Replace::Gone(None));
                };
                present = epoch.max(self.everyones().await?);
            }
            said = self.ask("replace", key, call(&present.to_be_bytes()), now).await?;
        }
        match said {
            Said::Nothing => Ok(Replace::Gone(None)),
            Said::Tombstone(tombstone, _) => Ok(Replace::Gone(Some(tombstone))),
            Said::Lives => Ok(Replace::Conflict),
            Said::Done => Ok(Replace::Replaced(version)),
            Said::Epoch(epoch) => {
                // The record stands; a touch will tell the index, too.
                let principal = record.principal.as_deref().unwrap_or_default();
                let told = self.tell(key, principal, record.lineage, &layout::span(&record), epoch, now).await;
                if let Err(error) = told {
                    tracing::debug!(%error, "the index of principals was not told of a change");
                }
                Ok(Replace::Replaced(version))
            }
            Said::Parts(parts) => {
                self.unlist_owner(key, &parts, now).await;
                Ok(Replace::Replaced(version))
            }
            _ => Err(unknown(&"replace")),
        }
    }

    pub(super) async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let call = Call::script(&scripts::TOUCH, &key.to_string(), now).arg(&at.bits().to_be_bytes()[..]);
        let call = call.arg(&idle_expires.as_millis().to_be_bytes()[..]).arg(&key.digest()[..]).repeatable();
        match self.ask("touch", key, call, now).await? {
            Said::Nothing => Ok(Touch::Gone(None)),
            Said::Tombstone(tombstone, _) => Ok(Touch::Gone(Some(tombstone))),
            Said::Lives => Ok(Touch::Conflict),
            Said::Done => Ok(Touch::Touched),
            Said::Parts(parts) => {
                let (principal, lineage, span, epoch) = told(&parts).ok_or_else(|| unknown(&"touch"))?;
                match self.tell(key, principal, lineage, &span, epoch, now).await? {
                    true => Ok(Touch::Touched),
                    false => Ok(Touch::Gone(match self.load(key, now).await? {
                        Load::Gone(tombstone) => Some(tombstone),
                        _ => None,
                    })),
                }
            }
            _ => Err(unknown(&"touch")),
        }
    }

    /// Tells the index that a session lives, and until when. `false`: it was to end, and has.
    async fn tell(
        &self,
        key: &StoreKey,
        principal: &str,
        lineage: u64,
        span: &[u8; 16],
        epoch: [u8; 8],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let heal = Call::script(&scripts::HEAL, &index::name(principal), now).arg(&key.digest()[..]);
        let heal = heal.arg(&lineage.to_be_bytes()[..]).arg(&span[..8]).arg(&span[8..]).arg(&epoch[..]);
        let is_listed: i64 = self.nodes.ask("write the index of principals", heal.repeatable()).await?;
        if is_listed == DONE {
            return Ok(true);
        }
        let meant = Meant { principal, lineage: Some(lineage), ..Meant::default() };
        self.end(key, &ended(now), &meant, false, now).await?;
        Ok(false)
    }

    pub(super) async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let call = Call::script(&scripts::DELETE, &key.to_string(), now).arg(bytes_of(at));
        let call = call.arg(layout::encode_tombstone(&tombstone)).arg(&key.digest()[..]);
        match self.ask("delete", key, call, now).await? {
            Said::Nothing => Ok(Delete::Gone(None)),
            Said::Tombstone(tombstone, _) => Ok(Delete::Gone(Some(tombstone))),
            Said::Lives => Ok(Delete::Conflict),
            Said::Parts(parts) => {
                self.unlist_owner(key, &parts, now).await;
                Ok(Delete::Deleted)
            }
            _ => Err(unknown(&"delete")),
        }
    }

    /// Takes out of an index what it names in vain from now on. Whoever reads it would do so, too.
    async fn unlist_owner(&self, key: &StoreKey, parts: &[Vec<u8>], now: Timestamp) {
        let Some((principal, lineage)) = Said::owner(parts) else { return };
        let field = Entry::field(&key.digest(), u64::from_be_bytes(lineage));
        if let Err(error) = self.unlist(principal, None, None, &[field], now).await {
            tracing::debug!(%error, "the index of principals was not told of an end");
        }
    }

    pub(super) async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        let probe = Call::script(&super::scripts::PROBE, PROBED, now).repeatable();
        self.nodes.ask::<i64>("ping", probe).await.map(drop)
    }

    /// Once a day it is somebody's turn to purge.
    pub(super) async fn claim_purge(&self) -> Result<bool, StoreError> {
        let mut claim = cmd("SET");
        claim.arg(PURGED).arg("").arg("NX").arg("PX").arg(86_400_000);
        let claimed: Option<String> = self.nodes.ask("claim the purge", Call::read(PURGED, claim)).await?;
        Ok(claimed.is_some())
    }
}

fn bytes_of(at: Option<Version>) -> Vec<u8> {
    at.map(|at| at.bits().to_be_bytes().to_vec()).unwrap_or_default()
}

/// What a touch tells an index.
fn told(parts: &[Vec<u8>]) -> Option<(&str, u64, [u8; 16], [u8; 8])> {
    let [principal, lineage, created, expires, epoch] = parts else { return None };
    let lineage = u64::from_be_bytes(lineage.as_slice().try_into().ok()?);
    let mut span = [0; 16];
    span[..8].copy_from_slice(created);
    span[8..].copy_from_slice(expires);
    Some((std::str::from_utf8(principal).ok()?, lineage, span, epoch.as_slice().try_into().ok()?))
}

/// Of a session that was to end before.
fn ended(now: Timestamp) -> Tombstone {
    Tombstone { why: Why::Ended, nonce: 0, made: now, until: now.after(GONE_FOR) }
}

fn late() -> StoreError {
    StoreError::new("redis: a write was on its way for too long, or two nodes differ in their clocks by half a minute")
}
