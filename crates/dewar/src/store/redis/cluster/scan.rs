//! All keys of all primaries: for an operator, not for a request.

use std::collections::{BTreeSet, HashSet};

use futures_util::future::join_all;
use redis::pipe;

use super::{
    ends::AT_ONCE,
    nodes::{Address, Map},
    *,
};
use crate::telemetry;

/// How often all keys are gone through anew where slots moved meanwhile.
const PASSES: usize = 3;

/// So much of a record says whether it lives, and since which epoch.
pub(super) const HEAD: usize = 42;

/// Goes through the names of all keys that begin so, node after node and page after page.
pub(super) struct Scan<'a> {
    nodes: &'a Nodes,
    prefix: &'static str,
    /// What ours are: a key of another kind is somebody else's.
    kind: &'static str,
    map: Arc<Map>,
    /// Which node is gone through, and where.
    at: usize,
    last: Address,
    cursor: u64,
    /// The process that gave the cursor, once one did.
    server: Option<String>,
}

impl<'a> Scan<'a> {
    pub(super) async fn of(nodes: &'a Nodes, prefix: &'static str, kind: &'static str) -> Result<Self, StoreError> {
        let map = nodes.map().await?;
        let last = map.primaries()[0].clone();
        Ok(Self { nodes, prefix, kind, map, at: 0, last, cursor: 0, server: None })
    }

    /// A name that is no text is none of ours.
    ///
    /// # Errors
    ///
    /// Where another process answers than before: to it the cursor means nothing, and names would be passed over.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        let Some(node) = self.map.primaries().get(self.at) else { return Ok(None) };
        let (next, names, server) = self.page(node).await?;
        if self.server.get_or_insert_with(|| server.clone()) != &server {
            return Err(StoreError::new("redis: cannot list: a node was another one in between"));
        }
        (self.cursor, self.last) = (next, node.clone());
        if next == 0 {
            (self.at, self.server) = (self.at + 1, None);
        }
        Ok(Some(names))
    }

    async fn page(&self, node: &Address) -> Result<(u64, Vec<String>, String), StoreError> {
        let mut reads = pipe();
        reads.cmd("SCAN").arg(self.cursor).arg("MATCH").arg(format!("{}*", self.prefix)).arg("COUNT").arg(1_000);
        reads.arg("TYPE").arg(self.kind);
        reads.cmd("INFO").arg("server");
        let ((next, names), info): ((u64, Vec<Vec<u8>>), String) = self.nodes.ask_node("list", node, &reads).await?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned();
        Ok((next, names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect(), server))
    }

    /// The beginnings of records, from the node of the last page, each with its key. `None`: there is more to be known than it says, or it has moved.
    pub(super) async fn heads(&self, names: &[String]) -> Vec<(Digest, Option<Vec<u8>>)> {
        let keys: Vec<(Digest, &String)> = names.iter().filter_map(|name| Some((own(name)?, name))).collect();
        let mut reads = pipe();
        for (_, name) in &keys {
            reads.cmd("GETRANGE").arg(name).arg(0).arg(HEAD - 1);
        }
        let heads = match keys.is_empty() {
            true => Ok(Vec::new()),
            false => self.nodes.ask_node::<Vec<Vec<u8>>>("list", &self.last, &reads).await,
        };
        // Where one has moved, the node answers with an error.
        let mut heads = heads.unwrap_or_default().into_iter();
        keys.into_iter().map(|(key, _)| (key, heads.next())).collect()
    }

    /// Whether each slot is where it was at the beginning.
    pub(super) async fn is_whole(&self) -> Result<bool, StoreError> {
        Ok(self.nodes.map().await?.is_like(&self.map))
    }
}

/// A name that stands for a record of ours.
pub(super) fn own(name: &str) -> Option<Digest> {
    let key = StoreKey::parse(name);
    (!key.is_foreign()).then(|| key.digest())
}

impl Cluster {
    pub(in super::super) async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        for _ in 0..PASSES {
            // A scan may name a key twice.
            let mut living = HashSet::new();
            let mut scan = Scan::of(&self.nodes, StoreKey::PREFIX, "string").await?;
            while let Some(names) = scan.next().await? {
                for (key, head) in scan.heads(&names).await {
                    let lives = match head {
                        Some(head) => layout::is_live(&head, now),
                        None => {
                            let key = StoreKey::from_digest(key);
                            let bytes = self.read(&key, now).await?;
                            bytes.is_some_and(|bytes| matches!(layout::decode(&key, bytes, now), Ok(Load::Found(..))))
                        }
                    };
                    if lives {
                        living.insert(key);
                    }
                }
            }
            if scan.is_whole().await? {
                return Ok(living.len() as u64);
            }
        }
        Err(StoreError::new("redis: cannot count: the slots moved again and again"))
    }

    pub(in super::super) async fn list_all(
        &self,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let mut page = Vec::new();
        let mut after = after;
        while page.len() < limit {
            let keys = self.keys_after(after, limit - page.len()).await?;
            let Some(last) = keys.last() else { break };
            after = Some(*last);
            for keys in keys.chunks(AT_ONCE) {
                let loads = keys.iter().map(async |key| {
                    let key = StoreKey::from_digest(*key);
                    self.read(&key, now).await.map(|found| (key, found))
                });
                for found in join_all(loads).await {
                    let (key, Some(bytes)) = found? else { continue };
                    match layout::decode(&key, bytes, now) {
                        Ok(Load::Found(record, version)) => page.push((key, record, version)),
                        Ok(_) => {}
                        // Of a later release, or somebody else's: the others are listed all the same.
                        Err(error) => telemetry::unlisted(&error, &key),
                    }
                }
            }
        }
        Ok(page)
    }

    /// The first keys after `after`: all of them are gone through, as Redis keeps them in no order.
    ///
    /// # Errors
    ///
    /// Where slots moved again and again: keys would be passed over.
    async fn keys_after(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, StoreError> {
        for _ in 0..PASSES {
            let mut first = BTreeSet::new();
            let mut scan = Scan::of(&self.nodes, StoreKey::PREFIX, "string").await?;
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
            if scan.is_whole().await? {
                return Ok(first.into_iter().collect());
            }
        }
        Err(StoreError::new("redis: cannot list: the slots moved again and again"))
    }
}
