//! Which sessions a principal has: `dewar-principal:` and the principal, a sorted set of keys.
//!
//! It is another key than the record, on another node of a cluster perhaps, so it cannot change
//! with the record in one piece. It is written before the record, and names too many keys rather
//! than too few: whoever reads it looks at the records, and takes out what is no longer so. The
//! score is when the key was written, so that a record still on its way is left alone.

use std::collections::{BTreeSet, HashSet};

use redis::{cmd, pipe};

use super::{
    connection::{Connection, Request},
    layout,
    scripts::UNINDEX,
};
use crate::store::{GONE_FOR, Load, Record, StoreError, StoreKey, Timestamp, Version};

const PREFIX: &str = "dewar-principal:";

/// How many records are asked for at once.
const BATCH: usize = 100;

/// From this size on, an index is looked through each time it has doubled.
const LARGE: u64 = 32;

pub(super) type Digest = [u8; 32];
pub(super) type Listed = (StoreKey, Record, Version);

impl Connection {
    /// Writes a key into the index of its principal.
    pub(super) async fn index(&self, principal: &str, key: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        let name = format!("{PREFIX}{principal}");
        let add = cmd("ZADD").arg(&name).arg(now.as_millis()).arg(&key.digest()[..]).take();
        self.ask::<()>("write the index of principals", Request::Write(&add)).await?;
        let size: u64 = self.ask("read the index of principals", Request::Read(cmd("ZCARD").arg(&name))).await?;
        if size >= LARGE && size.is_power_of_two() {
            // Nobody else may ever look.
            self.sift(&name, self.members(&name).await?, usize::MAX, now).await?;
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
        let name = format!("{PREFIX}{principal}");
        let mut members = self.members(&name).await?;
        members.retain(|(key, _)| after.is_none_or(|after| *key > after));
        members.sort_by_key(|(key, _)| *key);
        let mut page = Vec::new();
        for members in members.chunks(BATCH) {
            let (living, _) = self.sift(&name, members.to_vec(), usize::MAX, now).await?;
            page.extend(living);
            if page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Takes at most `limit` keys out of all indexes whose record is no more; how many.
    pub(super) async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        let mut cursor = 0;
        loop {
            let (next, names) = self.scan(cursor, PREFIX).await?;
            for name in names {
                for members in self.members(&name).await?.chunks(BATCH) {
                    removed += self.sift(&name, members.to_vec(), limit - removed, now).await?.1;
                    if removed == limit {
                        return Ok(removed);
                    }
                }
            }
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    pub(super) async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        // A scan may name a key twice.
        let mut living = HashSet::new();
        let mut cursor = 0;
        loop {
            let (next, mut names) = self.scan(cursor, StoreKey::PREFIX).await?;
            names.retain(|name| own(name).is_some());
            let mut reads = pipe();
            for name in &names {
                reads.cmd("GETRANGE").arg(name).arg(0).arg(layout::EXPIRIES - 1);
            }
            let heads: Vec<Vec<u8>> =
                if names.is_empty() { Vec::new() } else { self.ask("count", Request::Reads(&reads)).await? };
            let found = names.iter().zip(heads).filter(|(_, head)| layout::is_live(head, now));
            living.extend(found.filter_map(|(name, _)| own(name)));
            if next == 0 {
                return Ok(living.len() as u64);
            }
            cursor = next;
        }
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
        let mut cursor = 0;
        loop {
            let (next, names) = self.scan(cursor, StoreKey::PREFIX).await?;
            for key in names.iter().filter_map(|name| own(name)) {
                if after.is_none_or(|after| key > after) {
                    first.insert(key);
                }
                if first.len() > limit {
                    first.pop_last();
                }
            }
            if next == 0 {
                return Ok(first.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// Those of the members that live, and how many others were taken out.
    async fn sift(
        &self,
        index: &str,
        members: Vec<(Digest, f64)>,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<Listed>, usize), StoreError> {
        let keys: Vec<Digest> = members.iter().map(|(key, _)| *key).collect();
        let mut living = self.records(&keys, now).await?;
        living.retain(|(_, record, _)| record.principal.as_deref() == index.strip_prefix(PREFIX));
        let known: BTreeSet<Digest> = living.iter().map(|(key, ..)| key.digest()).collect();
        let mut removed = 0;
        for (key, score) in members {
            let is_settled = Timestamp::from_millis(score as u64).after(GONE_FOR) <= now;
            if is_settled && removed < limit && !known.contains(&key) {
                let mut script = UNINDEX.key(index);
                script.arg(&key[..]).arg(score);
                removed += self.ask::<usize>("write the index of principals", Request::Script(&script)).await?;
            }
        }
        Ok((living, removed))
    }

    async fn members(&self, index: &str) -> Result<Vec<(Digest, f64)>, StoreError> {
        let read = cmd("ZRANGE").arg(index).arg(0).arg(-1).arg("WITHSCORES").take();
        let members: Vec<(Vec<u8>, f64)> = self.ask("read the index of principals", Request::Read(&read)).await?;
        Ok(members.into_iter().filter_map(|(key, score)| Some((key.try_into().ok()?, score))).collect())
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
                if let Some(Load::Found(record, version)) = bytes.map(|bytes| layout::decode(bytes, now)).transpose()? {
                    listed.push((key, record, version));
                }
            }
        }
        Ok(listed)
    }

    async fn scan(&self, cursor: u64, prefix: &str) -> Result<(u64, Vec<String>), StoreError> {
        let read = cmd("SCAN").arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1_000).take();
        self.ask("list", Request::Read(&read)).await
    }
}

/// A name that stands for a record of ours.
fn own(name: &str) -> Option<Digest> {
    let key = StoreKey::parse(name);
    (!key.is_foreign()).then(|| key.digest())
}
