//! Which sessions a principal has: `dewar-sessions:` and the principal, a hash of keys to lineages.
//!
//! The scripts write it in one piece with the records, so it names every session that lives. What it names beyond
//! them has expired, and is taken out by whoever meets it, and once a day. It expires after the last of its sessions.
//!
//! `dewar-epochs` holds what was raised: `everyone`, `p:` and the principal, `l:` and the principal for the lineage that
//! passes, and `last`, the greatest that was ever given. It has no TTL, as an epoch never counts from lower again.
//!
//! Where an index is lost all the same (evicted, or deleted by hand), a touch, a replace or a rename lists its session again. Not one that was to end
//! meanwhile: where its epoch is old, or `dewar-ended-lineage:` names it, it ends then. Such a mark is left by whoever is to end a lineage that is not listed.
//!
//! The format before listed them in `dewar-principal:` and the principal, a sorted set; it is taken over when it is met.

use std::collections::{BTreeSet, HashSet};

use redis::{cmd, pipe};

use super::{
    connection::{Connection, Request},
    layout,
    scripts::{CLAIM_PURGE, END, END_LINEAGE, NOT_RAISED, RAISE, RAISE_EVERYONE, TAKE_OVER, UNLIST},
};
use crate::store::{Load, Record, StoreError, StoreKey, Timestamp, Tombstone, Version};
use crate::telemetry;

const PREFIX: &str = "dewar-sessions:";
const FORMER_PREFIX: &str = "dewar-principal:";
const EPOCHS: &str = "dewar-epochs";

/// How many records are asked for at once.
const BATCH: usize = 200;

/// How many keys one script ends: others wait meanwhile.
const ENDED_AT_ONCE: usize = 500;

/// How often an end of all begins again where another server came into service in between, which has to raise the epoch, too.
const RAISES: usize = 3;

/// From this size on, an index is looked through each time it has doubled.
const LARGE: u64 = 32;

pub(super) type Digest = [u8; 32];
pub(super) type Listed = (StoreKey, Record, Version);

/// Which sessions are to end.
struct Began<'a> {
    /// The epoch that was raised.
    before: &'a str,
    /// Its field in [`EPOCHS`].
    whose: &'a str,
    /// The lineage that passes, or nothing.
    passes: &'a [u8],
}

impl Connection {
    /// Looks through an index that has grown to this size: nobody else may ever look.
    pub(super) async fn tidy_large(&self, principal: &str, size: u64, now: Timestamp) -> Result<(), StoreError> {
        if size >= LARGE && size.is_power_of_two() { self.tidy(principal, now).await } else { Ok(()) }
    }

    async fn tidy(&self, principal: &str, now: Timestamp) -> Result<(), StoreError> {
        for keys in self.keys_of(principal, now).await?.chunks(BATCH) {
            self.sift(principal, keys, now).await?;
        }
        Ok(())
    }

    pub(super) async fn list_of(
        &self,
        principal: &str,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut keys = self.keys_of(principal, now).await?;
        keys.retain(|key| after.is_none_or(|after| *key > after));
        keys.sort_unstable();
        let mut page = Vec::new();
        for keys in keys.chunks(BATCH) {
            page.extend(self.sift(principal, keys, now).await?);
            if page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Whether it is this process's turn to purge.
    pub(super) async fn claim_purge(&self) -> Result<bool, StoreError> {
        self.ask("claim the purge", Request::Script(&CLAIM_PURGE.prepare_invoke())).await
    }

    /// Takes the keys out of all indexes whose record is no more.
    pub(super) async fn tidy_all(&self, now: Timestamp) -> Result<(), StoreError> {
        for (prefix, kind) in [(FORMER_PREFIX, "zset"), (PREFIX, "hash")] {
            let mut scan = Scan::of(self, prefix, kind);
            while let Some(names) = scan.next().await? {
                for principal in names.iter().filter_map(|name| name.strip_prefix(prefix)) {
                    self.tidy(principal, now).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let own = principal.map(|principal| format!("p:{principal}")).unwrap_or_default();
        let read = cmd("HMGET").arg(EPOCHS).arg("everyone").arg(own).take();
        let (everyone, own): (Option<u64>, Option<u64>) = self.ask("read the epoch", Request::Read(&read)).await?;
        Ok(everyone.max(own).unwrap_or(0))
    }

    /// Ends all that began before, but for one lineage.
    pub(super) async fn end_all(
        &self,
        principal: &str,
        but: Option<(u64, u64)>,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (lineage, began) = but.unzip();
        let lineage = lineage.map(|lineage| lineage.to_be_bytes().to_vec()).unwrap_or_default();
        let mut raise = RAISE.arg(now.as_millis());
        raise.arg(principal).arg(lineage).arg(began.unwrap_or_default());
        let mut ended = 0;
        for _ in 0..RAISES {
            let (epoch, passes, keys): (String, Vec<u8>, Vec<Vec<u8>>) =
                self.ask("revoke", Request::Repeatable(&raise)).await?;
            let began = Began { before: &epoch, whose: &format!("p:{principal}"), passes: &passes };
            if self.end(&digests(keys)?, &began, tombstone, now, &mut ended).await? {
                return Ok(ended);
            }
        }
        Err(not_raised())
    }

    pub(super) async fn end_lineage(
        &self,
        principal: &str,
        lineage: u64,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut end = END_LINEAGE.arg(now.as_millis());
        end.arg(layout::encode_tombstone(tombstone)).arg(principal).arg(&lineage.to_be_bytes()[..]);
        end.arg(&rand::random::<[u8; 8]>()[..]);
        self.ask("revoke", Request::Repeatable(&end)).await
    }

    pub(super) async fn end_everyone(&self, tombstone: &Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let raise = RAISE_EVERYONE.arg(now.as_millis());
        let mut ended = 0;
        for _ in 0..RAISES {
            let epoch: String = self.ask("revoke", Request::Repeatable(&raise)).await?;
            let began = Began { before: &epoch, whose: "everyone", passes: b"" };
            if self.end_standing(&began, tombstone, now, &mut ended).await? {
                return Ok(ended);
            }
        }
        Err(not_raised())
    }

    /// Goes through all keys, and does as `end` does.
    ///
    /// A scan names all that stands from its beginning to its end. What a rename moves meanwhile began after, or is refused: where the epoch was
    /// raised. So that is asked once more at the end.
    async fn end_standing(
        &self,
        began: &Began<'_>,
        tombstone: &Tombstone,
        now: Timestamp,
        ended: &mut u64,
    ) -> Result<bool, StoreError> {
        let mut scan = Scan::of(self, StoreKey::PREFIX, "string");
        while let Some(names) = scan.next().await? {
            let keys: Vec<Digest> = names.iter().filter_map(|name| own(name)).collect();
            if !keys.is_empty() && !self.end(&keys, began, tombstone, now, ended).await? {
                return Ok(false);
            }
        }
        self.end(&[], began, tombstone, now, ended).await
    }

    /// Ends those of the keys that began before an epoch, and adds how many. `false`: the server in service knows nothing of that epoch, and keys may
    /// have moved there.
    async fn end(
        &self,
        keys: &[Digest],
        began: &Began<'_>,
        tombstone: &Tombstone,
        now: Timestamp,
        ended: &mut u64,
    ) -> Result<bool, StoreError> {
        let tombstone = layout::encode_tombstone(tombstone);
        let mut left = keys;
        loop {
            let (keys, rest) = left.split_at(left.len().min(ENDED_AT_ONCE));
            let mut end = END.arg(now.as_millis());
            end.arg(&tombstone).arg(began.before).arg(began.whose).arg(began.passes);
            for key in keys {
                end.key(StoreKey::from_digest(*key).to_string()).arg(&key[..]);
            }
            match self.ask("revoke", Request::Repeatable(&end)).await? {
                NOT_RAISED => return Ok(false),
                some => *ended += some.unsigned_abs(),
            }
            if rest.is_empty() {
                return Ok(true);
            }
            left = rest;
        }
    }

    pub(super) async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        // A scan may name a key twice.
        let mut living = HashSet::new();
        let mut scan = Scan::of(self, StoreKey::PREFIX, "string");
        while let Some(mut names) = scan.next().await? {
            names.retain(|name| own(name).is_some());
            let mut reads = pipe();
            for name in &names {
                reads.cmd("GETRANGE").arg(name).arg(0).arg(layout::EXPIRIES - 1);
            }
            let heads: Vec<Vec<u8>> =
                if names.is_empty() { Vec::new() } else { self.ask("count", Request::Reads(&reads)).await? };
            let found = names.iter().zip(heads).filter(|(_, head)| layout::is_live(head, now));
            living.extend(found.filter_map(|(name, _)| own(name)));
        }
        Ok(living.len() as u64)
    }

    pub(super) async fn list_all(
        &self,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut page = Vec::new();
        let mut after = after;
        while page.len() < limit {
            let keys = self.keys_after(after, limit - page.len()).await?;
            let Some(last) = keys.last() else { break };
            after = Some(*last);
            page.extend(self.records(&keys, now).await?);
        }
        Ok(page)
    }

    /// The first keys after `after`: all of them are gone through, as Redis keeps them in no order.
    async fn keys_after(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, StoreError> {
        let mut first = BTreeSet::new();
        let mut scan = Scan::of(self, StoreKey::PREFIX, "string");
        while let Some(names) = scan.next().await? {
            for key in names.iter().filter_map(|name| own(name)) {
                if after.is_none_or(|after| key > after) {
                    first.insert(key);
                }
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        Ok(first.into_iter().collect())
    }

    /// Those of the keys that live; the others are taken out.
    async fn sift(&self, principal: &str, keys: &[Digest], now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let mut living = self.records(keys, now).await?;
        living.retain(|(_, record, _)| record.principal.as_deref() == Some(principal));
        let known: BTreeSet<Digest> = living.iter().map(|(key, ..)| key.digest()).collect();
        let stale: Vec<&Digest> = keys.iter().filter(|key| !known.contains(*key)).collect();
        if stale.is_empty() {
            return Ok(living);
        }
        let mut unlist = UNLIST.arg(now.as_millis());
        unlist.arg(principal);
        for key in stale {
            unlist.key(StoreKey::from_digest(*key).to_string()).arg(&key[..]);
        }
        self.ask::<u64>("write the index of principals", Request::Repeatable(&unlist)).await?;
        Ok(living)
    }

    async fn keys_of(&self, principal: &str, now: Timestamp) -> Result<Vec<Digest>, StoreError> {
        let name = format!("{PREFIX}{principal}");
        let former = format!("{FORMER_PREFIX}{principal}");
        let mut reads = pipe();
        reads.cmd("EXISTS").arg(&former).cmd("HKEYS").arg(&name);
        let (has_former, mut keys): (bool, Vec<Vec<u8>>) =
            self.ask("read the index of principals", Request::Reads(&reads)).await?;
        if has_former {
            let mut take_over = TAKE_OVER.arg(now.as_millis());
            take_over.arg(principal);
            self.ask::<i64>("write the index of principals", Request::Repeatable(&take_over)).await?;
            keys = self.ask("read the index of principals", Request::Read(cmd("HKEYS").arg(&name))).await?;
        }
        digests(keys)
    }

    async fn records(&self, keys: &[Digest], now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for keys in keys.chunks(BATCH) {
            let keys: Vec<StoreKey> = keys.iter().map(|key| StoreKey::from_digest(*key)).collect();
            let mut reads = pipe();
            for key in &keys {
                reads.cmd("GET").arg(key.to_string());
            }
            let found: Vec<Option<Vec<u8>>> = self.ask("list", Request::Reads(&reads)).await?;
            for (key, bytes) in keys.into_iter().zip(found) {
                let Some(bytes) = bytes else { continue };
                match layout::decode(&key, bytes, now) {
                    Ok(Load::Found(record, version)) => listed.push((key, record, version)),
                    Ok(_) => {}
                    // Of a later release, or somebody else's: the others are listed all the same.
                    Err(error) => telemetry::unlisted(&error, &key),
                }
            }
        }
        Ok(listed)
    }
}

/// Goes through the names of all keys that begin so, page after page.
struct Scan<'a> {
    connection: &'a Connection,
    prefix: &'static str,
    /// What ours are: a key of another kind is somebody else's.
    kind: &'static str,
    /// `None`: it is over.
    cursor: Option<u64>,
    /// The process that gave the cursor, once one did.
    server: Option<String>,
}

impl<'a> Scan<'a> {
    fn of(connection: &'a Connection, prefix: &'static str, kind: &'static str) -> Self {
        Self { connection, prefix, kind, cursor: Some(0), server: None }
    }

    /// A name that is no text is none of ours.
    ///
    /// # Errors
    ///
    /// Where another process answers than before: to it the cursor means nothing, and names would be passed over.
    async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut reads = pipe();
        reads.cmd("SCAN").arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(1_000);
        reads.arg("TYPE").arg(self.kind);
        reads.cmd("INFO").arg("server");
        let ((next, names), info): ((u64, Vec<Vec<u8>>), String) =
            self.connection.ask("list", Request::Reads(&reads)).await?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
        if self.server.get_or_insert_with(|| server.to_owned()) != server {
            return Err(StoreError::new("redis: cannot list: the server was another one in between"));
        }
        self.cursor = (next != 0).then_some(next);
        Ok(Some(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect()))
    }
}

fn not_raised() -> StoreError {
    StoreError::new("redis: cannot revoke: the server was another one in between, again and again")
}

/// # Errors
///
/// Where an index names what is none: to pass over it would leave a session alive.
fn digests(keys: Vec<Vec<u8>>) -> Result<Vec<Digest>, StoreError> {
    let keys = keys.into_iter().map(Digest::try_from).collect::<Result<_, _>>();
    keys.map_err(|_| StoreError::new("redis: the index of principals names something that is no key"))
}

/// A name that stands for a record of ours.
fn own(name: &str) -> Option<Digest> {
    let key = StoreKey::parse(name);
    (!key.is_foreign()).then(|| key.digest())
}
