//! A session's way to another key, which is in another slot.

use futures_util::future::join3;

use super::*;
use crate::store::Rename;

impl Cluster {
    #[allow(clippy::too_many_arguments)] // Each is one fact of one step.
    pub(in super::super) async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        // What gives way must not do so in vain: with a cap one after the other.
        let enlists = async {
            if cap.is_some() { Ok(None) } else { self.enlist_moved(from, to, &record, None, now).await.map(Some) }
        };
        let (checked, everyones, enlisted) = join3(self.check(to, now), self.everyones(), enlists).await;
        let (checked, everyones) = (checked?, everyones?);
        let peek = || self.peek(from, at, everyones, now);
        if checked.stands.is_some() {
            // What stands under the old key is answered first.
            return peek().await?.unwrap_or(Err(StoreError::new("redis: the new key is not new")));
        }
        if record.principal.is_some() && record.epoch.is_some_and(|epoch| epoch < everyones) {
            return peek().await?.unwrap_or(Ok(Rename::Outdated));
        }
        let enlisted = match enlisted? {
            Some(enlisted) => enlisted,
            None => match peek().await? {
                Some(refused) => return refused,
                None => self.enlist_moved(from, to, &record, cap, now).await?,
            },
        };
        let (own, leaving) = match enlisted {
            Listed::In { epoch, leaving } => (epoch, leaving),
            Listed::Full => return peek().await?.unwrap_or(Ok(Rename::Full)),
            Listed::Outdated => return peek().await?.unwrap_or(Ok(Rename::Outdated)),
            Listed::Ended => match peek().await? {
                Some(refused) => return refused,
                None => return self.not_moved(from, &record, now).await,
            },
        };
        let mut epoch = match record.principal {
            // Nobody's session began when it did, whatever it is called since: in everybody's present epoch, or it is refused.
            None => everyones,
            Some(_) => record.epoch.unwrap_or(own.max(everyones)),
        };
        let gave_way = self.end_leaving(&record, &leaving, cap, now).await?;
        let record = Record { epoch: Some(epoch), ..record };
        let bytes = layout::encode(&record, version);

        let call = Call::script(&scripts::MOVE, &from.to_string(), now).arg(bytes_of(at)).arg(&from.digest()[..]);
        let call = call.arg(everyones).arg(layout::encode_tombstone(&tombstone)).arg(to.to_string()).arg(&bytes[..]);
        let owner = match self.ask("rename", from, call, now).await? {
            Said::Parts(owner) => owner,
            said => {
                self.unlist_vainly(to, &record, now).await;
                return refused(said)?.ok_or_else(|| unknown(&"rename"));
            }
        };
        match self.put(to, &bytes, Some(checked.at), now).await? {
            Said::Done | Said::Mine => {}
            // It was listed and on its way: it was there, and was ended since.
            Said::Tombstone(..) => {}
            Said::Lives => return Err(StoreError::new("redis: the new key is not new")),
            Said::Late => return Err(late()),
            _ => return Err(unknown(&"rename")),
        }
        let stays = self.keeps_up(to, version, &mut epoch, false, now).await?;
        self.settle(from, tombstone.nonce.to_be_bytes(), now).await?;
        self.moved(from, to, &record, &owner, now).await;
        Ok(match stays {
            true => Rename::Renamed(written(&record, version, epoch, gave_way)),
            false => Rename::Outdated,
        })
    }

    async fn enlist_moved(
        &self,
        from: &StoreKey,
        to: &StoreKey,
        record: &Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Listed, StoreError> {
        match record.principal {
            Some(_) => self.enlist(to, record, Some(from), cap, now).await,
            None => Ok(Listed::In { epoch: 0, leaving: Vec::new() }),
        }
    }

    /// Why a rename cannot begin; `None`: it can.
    async fn peek(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        everyones: u64,
        now: Timestamp,
    ) -> Result<Option<Result<Rename, StoreError>>, StoreError> {
        let call = Call::script(&scripts::PEEK, &from.to_string(), now).arg(bytes_of(at)).arg(&from.digest()[..]);
        let said = self.ask("rename", from, call.arg(everyones).repeatable(), now).await?;
        Ok(refused(said)?.map(Ok))
    }

    /// Its lineage has ended: so has it, where it is still that one.
    async fn not_moved(&self, from: &StoreKey, record: &Record, now: Timestamp) -> Result<Rename, StoreError> {
        let principal = record.principal.as_deref().unwrap_or_default();
        let meant = Meant { principal, lineage: Some(record.lineage), ..Meant::default() };
        self.end(from, &ended(now), &meant, false, now).await?;
        Ok(match self.load(from, now).await? {
            Load::Gone(tombstone) => Rename::Gone(Some(tombstone)),
            _ => Rename::Outdated,
        })
    }

    /// Brings a record where it was to go. What stands there by then has arrived before, or was ended.
    pub(super) async fn arrive(&self, from: &StoreKey, moving: &Moving, now: Timestamp) -> Result<(), StoreError> {
        // In this order: what is still on its way after the new key was looked at was not ended there before.
        let call = Call::script(&scripts::CHECK, &moving.to.to_string(), now).arg(&moving.to.digest()[..]);
        let (at, stands): (u64, Value) = self.nodes.ask("rename", call.repeatable()).await?;
        if stands == Value::Int(GONE) {
            let pending = Call::script(&scripts::PENDING, &from.to_string(), now).repeatable();
            if let Value::BulkString(_) = self.nodes.ask("rename", pending).await?
                && let Said::Late = self.put(&moving.to, &moving.record, Some(at), now).await?
            {
                return Err(late());
            }
        }
        let everyones = self.everyones().await?;
        let epoch = moving.record.get(34..42).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        if epoch < everyones {
            let meant = Meant { before: Some(everyones), ..Meant::default() };
            let call = meant.call(&moving.to, &ended(now), false, now);
            self.nodes.ask::<Value>("rename", call).await?;
        }
        self.settle(from, moving.nonce, now).await
    }

    pub(super) async fn settle(&self, from: &StoreKey, nonce: [u8; 8], now: Timestamp) -> Result<(), StoreError> {
        let call = Call::script(&scripts::SETTLE, &from.to_string(), now).arg(&nonce[..]).repeatable();
        self.nodes.ask::<Value>("rename", call).await.map(drop)
    }

    /// Tells the indexes. Whoever reads them would find out, too.
    async fn moved(&self, from: &StoreKey, to: &StoreKey, record: &Record, owner: &[Vec<u8>], now: Timestamp) {
        let arrived = Entry::field(&to.digest(), record.lineage);
        let before = Said::owner(owner)
            .map(|(principal, lineage)| (principal, Entry::field(&from.digest(), u64::from_be_bytes(lineage))));
        let told = match (&record.principal, before) {
            (Some(principal), Some((former, field))) if **principal == *former => {
                self.unlist(principal, None, Some(&arrived), &[field], now).await
            }
            (_, Some((former, field))) => self.unlist(former, None, None, &[field], now).await,
            (_, None) => Ok(true),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the index of principals was not told of a renewal");
        }
    }

    /// Takes out what was listed for a rename that was refused.
    async fn unlist_vainly(&self, to: &StoreKey, record: &Record, now: Timestamp) {
        let Some(principal) = record.principal.as_deref() else { return };
        let field = Entry::field(&to.digest(), record.lineage);
        if let Err(error) = self.unlist(principal, None, None, &[field], now).await {
            tracing::debug!(%error, "the index of principals was not told of a refusal");
        }
    }
}

/// Why a rename was not done; `None`: nothing speaks against it.
fn refused(said: Said) -> Result<Option<Rename>, StoreError> {
    Ok(match said {
        Said::Nothing => Some(Rename::Gone(None)),
        Said::Tombstone(tombstone, _) => Some(Rename::Gone(Some(tombstone))),
        Said::Lives => Some(Rename::Conflict),
        Said::Outdated => Some(Rename::Outdated),
        Said::Done => None,
        _ => return Err(unknown(&"rename")),
    })
}
