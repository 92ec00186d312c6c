//! Which sessions a principal has: `dewar-index:` and the principal, one hash in one slot.
//!
//! A session is a field `d`, its digest and its lineage: when it began and expires, as far as is known, when it was listed, whether it gives way to
//! another, and the digest that it comes from while it is on its way. Beside them stand the principal's `epoch`, the lineage that `passes` as present, and
//! each lineage that has ended. It has no TTL: what it names in vain is taken out by whoever reads it, and once a day.

use futures_util::future::join_all;

use super::{ends::AT_ONCE, scan::Scan, *};

pub(super) const PREFIX: &str = "dewar-index:";

/// How often those listed are looked at for one log-in.
const LOOKS: usize = 5;

pub(super) fn name(principal: &str) -> String {
    format!("{PREFIX}{principal}")
}

/// One session in an index.
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) lineage: u64,
    pub(super) from: Option<Digest>,
    field: Vec<u8>,
    value: Vec<u8>,
}

/// What came of listing a session.
pub(super) enum Listed {
    In {
        /// The principal's own.
        epoch: u64,
        /// The fields of those that give way.
        leaving: Vec<Vec<u8>>,
    },
    Outdated,
    /// Its lineage has ended, and it was not listed.
    Ended,
    Full,
}

impl Entry {
    pub(super) fn field(digest: &Digest, lineage: u64) -> Vec<u8> {
        [b"d", &digest[..], &lineage.to_be_bytes()].concat()
    }

    pub(super) fn fields(entries: &[Self]) -> Vec<Vec<u8>> {
        entries.iter().map(|entry| entry.field.clone()).collect()
    }

    /// The digest and the lineage of a field.
    ///
    /// # Errors
    ///
    /// Where it is none: to pass over it would leave a session alive.
    pub(super) fn named(field: &[u8]) -> Result<(Digest, u64), StoreError> {
        let parts = || {
            let digest = field.get(1..33)?.try_into().ok()?;
            Some((digest, u64::from_be_bytes(field.get(33..)?.try_into().ok()?)))
        };
        parts().ok_or_else(|| StoreError::new("redis: the index of principals names something that is no key"))
    }

    pub(super) fn read_all(listed: Value) -> Result<Vec<Self>, StoreError> {
        let listed: Vec<Vec<u8>> = redis::from_redis_value(listed).map_err(|error| unknown(&error))?;
        let mut entries = Vec::with_capacity(listed.len() / 2);
        let mut listed = listed.into_iter();
        while let (Some(field), Some(value)) = (listed.next(), listed.next()) {
            let (digest, lineage) = Self::named(&field)?;
            let from = value.get(25..).and_then(|from| from.try_into().ok());
            entries.push(Self { digest, lineage, from, field, value });
        }
        Ok(entries)
    }
}

impl Cluster {
    /// Lists a session that is about to begin, and says who gives way to it.
    pub(super) async fn enlist(
        &self,
        key: &StoreKey,
        record: &Record,
        from: Option<&StoreKey>,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Listed, StoreError> {
        let principal = record.principal.as_deref().unwrap_or_default();
        let span = layout::span(record);
        for look in 0..LOOKS {
            let call = Call::script(&scripts::ENLIST, &name(principal), now).arg(&key.digest()[..]);
            let call = call.arg(&record.lineage.to_be_bytes()[..]).arg(&span[..8]).arg(&span[8..]);
            let call = call.arg(from.map(|from| from.digest().to_vec()).unwrap_or_default());
            let call = call.arg(&record.epoch.unwrap_or(u64::MAX).to_be_bytes()[..]);
            let call = call.arg(cap.map(|cap| cap.most.to_string()).unwrap_or_default());
            let call = call.arg(if cap.is_some_and(|cap| cap.end_oldest.is_some()) { "ends" } else { "" });
            let call = call.arg(if look > 0 { "looked" } else { "" }).repeatable();
            let mut said: Vec<Value> = self.nodes.ask("write the index of principals", call).await?;
            return Ok(match &mut said[..] {
                [Value::Int(-3)] => Listed::Outdated,
                [Value::Int(-4)] => Listed::Ended,
                [Value::Int(-5)] => Listed::Full,
                [Value::Int(-7)] => {
                    // Whether there is room is said of what lives.
                    self.look(principal, now).await?;
                    continue;
                }
                [Value::Int(epoch @ 0..), leaving] => Listed::In {
                    epoch: epoch.unsigned_abs(),
                    leaving: redis::from_redis_value(leaving.clone()).map_err(|error| unknown(&error))?,
                },
                _ => return Err(unknown(&"enlist")),
            });
        }
        Ok(Listed::Full)
    }

    /// Takes fields out. `false`: the index does not know an epoch that it must.
    pub(super) async fn unlist(
        &self,
        principal: &str,
        epoch: Option<u64>,
        arrived: Option<&[u8]>,
        fields: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let call = Call::script(&scripts::UNLIST, &name(principal), now);
        let call = call.arg(epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
        let call = call.arg(arrived.unwrap_or_default()).arg(fields).repeatable();
        let said: i64 = self.nodes.ask("write the index of principals", call).await?;
        Ok(said == DONE)
    }

    async fn entries(&self, principal: &str, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let call = Call::script(&scripts::LIST, &name(principal), now).repeatable();
        Entry::read_all(self.nodes.ask("read the index of principals", call).await?)
    }

    /// Looks at all that a principal has listed, and mends the index.
    pub(super) async fn look(&self, principal: &str, now: Timestamp) -> Result<(), StoreError> {
        let entries = self.entries(principal, now).await?;
        self.sift(principal, &entries, now).await.map(drop)
    }

    /// Those of the entries that live; the index is mended where it was wrong.
    async fn sift(
        &self,
        principal: &str,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let mut living = Vec::new();
        let mut wrong = Vec::new();
        for entries in entries.chunks(AT_ONCE) {
            let loads = entries.iter().map(async |entry| self.load(&StoreKey::from_digest(entry.digest), now).await);
            for (entry, found) in entries.iter().zip(join_all(loads).await) {
                let mut is_wrong = |how: &[u8]| wrong.push((entry.field.clone(), entry.value.clone(), how.to_vec()));
                match found? {
                    Load::Found(record, version)
                        if record.principal.as_deref() == Some(principal) && record.lineage == entry.lineage =>
                    {
                        let span = layout::span(&record);
                        if !entry.value.starts_with(&span) {
                            is_wrong(&span);
                        }
                        living.push((StoreKey::from_digest(entry.digest), record, version));
                    }
                    // It may be on its way.
                    Load::Missing => is_wrong(b"missing"),
                    _ => is_wrong(b"gone"),
                }
            }
        }
        if !wrong.is_empty() {
            let mut mend = Call::script(&scripts::MEND, &name(principal), now);
            for (field, value, how) in wrong {
                mend = mend.arg(field).arg(value).arg(how);
            }
            self.nodes.ask::<Value>("write the index of principals", mend.repeatable()).await?;
        }
        Ok(living)
    }

    pub(in super::super) async fn list_of(
        &self,
        principal: &str,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let mut entries = self.entries(principal, now).await?;
        entries.retain(|entry| after.is_none_or(|after| entry.digest > after));
        entries.sort_unstable_by_key(|entry| entry.digest);
        let mut page = Vec::new();
        for entries in entries.chunks(limit.max(AT_ONCE)) {
            page.extend(self.sift(principal, entries, now).await?);
            if page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        Ok(page)
    }

    /// Takes out of all indexes what they name in vain.
    pub(in super::super) async fn tidy_all(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut scan = Scan::of(&self.nodes, PREFIX, "hash").await?;
        while let Some(names) = scan.next().await? {
            for principal in names.iter().filter_map(|name| name.strip_prefix(PREFIX)) {
                self.look(principal, now).await?;
            }
        }
        Ok(())
    }

    pub(in super::super) async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let Some(principal) = principal else { return self.everyones().await };
        let name = name(principal);
        let mut read = cmd("HGET");
        read.arg(&name).arg("epoch");
        let own = self.nodes.ask::<Option<u64>>("read the epoch", Call::read(&name, read));
        let (own, everyones) = futures_util::future::join(own, self.everyones()).await;
        Ok(own?.unwrap_or(0).max(everyones?))
    }
}
