//! Sessions that end, wherever their keys are.

use std::collections::{BTreeMap, HashSet};

use futures_util::future::join_all;

use super::{scan::Scan, *};
use crate::store::Revoke;

/// How many keys are asked for at once.
pub(super) const AT_ONCE: usize = 64;

/// How often all keys are gone through until nothing is found any more.
const PASSES: usize = 20;

/// Which record is to end: what is not said is any.
#[derive(Clone, Copy, Default)]
pub(super) struct Meant<'a> {
    /// Empty: whosever it is.
    pub(super) principal: &'a str,
    pub(super) lineage: Option<u64>,
    /// The lineage that stays, or nothing.
    pub(super) passes: &'a [u8],
    /// The epoch that it began before.
    pub(super) before: Option<u64>,
}

impl Meant<'_> {
    pub(super) fn call(&self, key: &StoreKey, tombstone: &Tombstone, bars: bool, now: Timestamp) -> Call {
        let call = Call::script(&scripts::END, &key.to_string(), now).arg(layout::encode_tombstone(tombstone));
        let lineage = self.lineage.map(|lineage| lineage.to_be_bytes().to_vec()).unwrap_or_default();
        let call = call.arg(&key.digest()[..]).arg(self.principal).arg(lineage).arg(self.passes);
        let before = self.before.map(|before| before.to_string()).unwrap_or_default();
        call.arg(before).arg(if bars { "bars" } else { "" }).repeatable()
    }

    fn is(&self, record: &Record) -> bool {
        (self.principal.is_empty() || record.principal.as_deref() == Some(self.principal))
            && self.lineage.is_none_or(|lineage| lineage == record.lineage)
            && (self.passes.is_empty() || record.lineage.to_be_bytes() != *self.passes)
    }
}

/// What came of an end.
#[derive(Default)]
pub(super) struct EndOf {
    pub(super) ended: u64,
    /// Whose it was, and its field in that index.
    owner: Option<(String, Vec<u8>)>,
}

impl Cluster {
    /// Ends what stands under a key, if it is meant. With `bars`, a tombstone is left where nothing stands, too.
    pub(super) async fn end(
        &self,
        key: &StoreKey,
        tombstone: &Tombstone,
        meant: &Meant<'_>,
        bars: bool,
        now: Timestamp,
    ) -> Result<EndOf, StoreError> {
        let said = self.nodes.ask("revoke", meant.call(key, tombstone, bars, now)).await?;
        match Said::read(key, said)? {
            Said::Parts(parts) => {
                let owner = Said::owner(&parts).map(|(principal, lineage)| {
                    (principal.to_owned(), Entry::field(&key.digest(), u64::from_be_bytes(lineage)))
                });
                Ok(EndOf { ended: 1, owner })
            }
            Said::Tombstone(_, Some(moving)) => self.end_moving(key, &moving, tombstone, meant, now).await,
            _ => Ok(EndOf::default()),
        }
    }

    /// One that is on its way ends where it is to arrive.
    async fn end_moving(
        &self,
        from: &StoreKey,
        moving: &Moving,
        tombstone: &Tombstone,
        meant: &Meant<'_>,
        now: Timestamp,
    ) -> Result<EndOf, StoreError> {
        let decoded = layout::decode(&moving.to, moving.record.to_vec(), now)?;
        if !matches!(&decoded, Load::Found(record, _) if meant.is(record)) {
            return Ok(EndOf::default());
        }
        let said = self.nodes.ask("revoke", meant.call(&moving.to, tombstone, true, now)).await?;
        self.settle(from, moving.nonce, now).await?;
        let ended = matches!(Said::read(&moving.to, said)?, Said::Parts(_) | Said::Barred);
        Ok(EndOf { ended: ended.into(), owner: None })
    }

    /// Ends those that give way to a log-in; how many.
    pub(super) async fn end_leaving(
        &self,
        record: &Record,
        leaving: &[Vec<u8>],
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let Some(principal) = record.principal.as_deref().filter(|_| !leaving.is_empty()) else { return Ok(0) };
        let ended = ended(now);
        let tombstone = cap.and_then(|cap| cap.end_oldest.as_ref()).unwrap_or(&ended);
        let mut count = 0;
        for field in leaving {
            let (digest, lineage) = Entry::named(field)?;
            let (key, meant) =
                (StoreKey::from_digest(digest), Meant { principal, lineage: Some(lineage), ..Meant::default() });
            let said = self.nodes.ask("end a session", meant.call(&key, tombstone, true, now)).await?;
            count += match Said::read(&key, said)? {
                Said::Parts(_) | Said::Barred => 1,
                Said::Tombstone(_, Some(moving)) => {
                    self.end_moving(&key, &moving, tombstone, &meant, now).await?.ended as u32
                }
                _ => 0,
            };
        }
        self.unlist(principal, None, None, leaving, now).await?;
        Ok(count)
    }

    pub(in super::super) async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        match which {
            Revoke::All => self.end_all(principal, None, tombstone, now).await,
            Revoke::AllBut { lineage, epoch } => self.end_all(principal, Some((lineage, epoch)), tombstone, now).await,
            Revoke::Lineage(lineage) => {
                let call = Call::script(&scripts::END_LINEAGE, &index::name(principal), now);
                let call = call.arg(&lineage.to_be_bytes()[..]).repeatable();
                let entries = Entry::read_all(self.nodes.ask("revoke", call).await?)?;
                let meant = Meant { principal, lineage: Some(lineage), ..Meant::default() };
                let ended = self.end_listed(&entries, tombstone, &meant, now).await?;
                self.unlist(principal, None, None, &Entry::fields(&entries), now).await?;
                Ok(ended)
            }
        }
    }

    async fn end_all(
        &self,
        principal: &str,
        but: Option<(u64, u64)>,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let lineage = but.map(|(lineage, _)| lineage.to_be_bytes().to_vec()).unwrap_or_default();
        // All that an epoch can be: Lua's numbers have 53 bits.
        let began = but.map_or(0, |(_, epoch)| epoch.min(1 << 53));
        let mut ended = 0;
        for _ in 0..RAISES {
            let (epoch, everyones) = self.draw(false, now).await?;
            let raise = Call::script(&scripts::RAISE, &index::name(principal), now).arg(epoch).arg(&lineage[..]);
            let raise = raise.arg(began).arg(everyones).repeatable();
            let mut raised: Vec<Value> = self.nodes.ask("revoke", raise).await?;
            let [Value::BulkString(passes), listed] = &mut raised[..] else { continue };
            let entries = Entry::read_all(std::mem::replace(listed, Value::Nil))?;
            let entries: Vec<Entry> =
                entries.into_iter().filter(|entry| entry.lineage.to_be_bytes() != **passes).collect();
            let meant = Meant { principal, passes, before: Some(epoch), ..Meant::default() };
            ended += self.end_listed(&entries, tombstone, &meant, now).await?;
            if self.unlist(principal, Some(epoch), None, &Entry::fields(&entries), now).await? {
                return Ok(ended);
            }
        }
        Err(not_raised())
    }

    /// Where one is on its way from another, the other is looked at first: it is met in one of the two places.
    async fn end_listed(
        &self,
        entries: &[Entry],
        tombstone: &Tombstone,
        meant: &Meant<'_>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut left: Vec<&Entry> = entries.iter().collect();
        let mut ended = 0;
        while !left.is_empty() {
            let listed: HashSet<Digest> = left.iter().map(|entry| entry.digest).collect();
            let (mut last, mut first): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|entry| entry.from.is_some_and(|from| listed.contains(&from)));
            if first.is_empty() {
                std::mem::swap(&mut first, &mut last);
            }
            for entries in first.chunks(AT_ONCE) {
                let ends = entries.iter().map(async |entry| {
                    self.end(&StoreKey::from_digest(entry.digest), tombstone, meant, true, now).await
                });
                for end in join_all(ends).await {
                    ended += end?.ended;
                }
            }
            left = last;
        }
        Ok(ended)
    }

    pub(in super::super) async fn end_everyone(
        &self,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for _ in 0..RAISES {
            let (epoch, _) = self.draw(true, now).await?;
            self.everyone.fetch_max(epoch, Relaxed);
            let meant = Meant { before: Some(epoch), ..Meant::default() };
            let mut is_done = false;
            // A key that moved to another node meanwhile may have been passed over.
            for _ in 0..PASSES {
                let (found, is_whole) = self.end_standing(tombstone, &meant, now).await?;
                ended += found;
                is_done = found == 0 && is_whole;
                if is_done {
                    break;
                }
            }
            if !is_done {
                return Err(StoreError::new("redis: cannot revoke: the slots moved again and again"));
            }
            if self.everyones().await? >= epoch {
                return Ok(ended);
            }
        }
        Err(not_raised())
    }

    /// Goes through all keys once; how many ended, and whether all slots stayed where they were.
    async fn end_standing(
        &self,
        tombstone: &Tombstone,
        meant: &Meant<'_>,
        now: Timestamp,
    ) -> Result<(u64, bool), StoreError> {
        let mut ended = 0;
        let mut scan = Scan::of(&self.nodes, StoreKey::PREFIX, "string").await?;
        while let Some(names) = scan.next().await? {
            let heads = scan.heads(&names).await.into_iter();
            let meant_by_head =
                heads.filter(|(_, head)| head.as_ref().is_none_or(|head| layout::may_end(head, meant.before)));
            let keys: Vec<StoreKey> = meant_by_head.map(|(key, _)| StoreKey::from_digest(key)).collect();
            let mut owners: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            for keys in keys.chunks(AT_ONCE) {
                let ends = keys.iter().map(|key| self.end(key, tombstone, meant, false, now));
                for end in join_all(ends).await {
                    let end = end?;
                    ended += end.ended;
                    if let Some((principal, field)) = end.owner {
                        owners.entry(principal).or_default().push(field);
                    }
                }
            }
            for (principal, fields) in owners {
                self.unlist(&principal, None, None, &fields, now).await?;
            }
        }
        Ok((ended, scan.is_whole().await?))
    }
}

fn not_raised() -> StoreError {
    StoreError::new("redis: cannot revoke: another node was in service in between, again and again")
}
