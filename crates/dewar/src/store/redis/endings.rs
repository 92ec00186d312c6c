//! Sessions that end, as the server tells of them to whoever listens.
//!
//! Whoever puts a tombstone in a record's place publishes its key on `dewar-endings`; nothing, where everybody's sessions end. It is an ordinary channel
//! in a cluster, too: its nodes pass it on to each other, so that one connection hears of all. A sharded one would be a channel for each slot.

use std::time::Duration;

use futures_util::StreamExt;
use redis::RedisResult;

use super::{Place, connection::CONNECTION_LIMIT};
use crate::{
    runtime::Task,
    store::{Ending, StoreKey, TellEnding},
};

const CHANNEL: &str = "dewar-endings";

/// The pauses between attempts to connect double from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// `None`: the connection is the application's, and not ours to listen on.
pub(super) fn listen(place: &Place, tell: TellEnding) -> Option<Task> {
    if let Place::Server(server) = place
        && !server.is_ours()
    {
        return None;
    }
    let place = place.clone();
    Some(Box::pin(async move {
        let mut pause = PAUSES[0];
        loop {
            match listen_once(&place, &tell).await {
                Ok(()) => pause = PAUSES[0],
                Err(error) => {
                    tracing::debug!(%error, "redis: nobody tells of sessions that end");
                    pause = (2 * pause).min(PAUSES[1]);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }))
}

/// Until the connection is lost.
async fn listen_once(place: &Place, tell: &TellEnding) -> RedisResult<()> {
    let client = match place {
        Place::Server(server) => server.client().await?,
        Place::Cluster(cluster) => Some(cluster.client().await?),
    };
    let Some(client) = client else { return Ok(()) };
    let listens = async {
        let mut connection = client.get_async_pubsub().await?;
        connection.subscribe(CHANNEL).await?;
        Ok(connection)
    };
    let limit = || redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connection = tokio::time::timeout(2 * CONNECTION_LIMIT, listens).await.map_err(|_| limit()).flatten()?;
    tell(Ending::Any);
    let mut messages = connection.into_on_message();
    while let Some(message) = messages.next().await {
        tell(match std::str::from_utf8(message.get_payload_bytes()) {
            Ok("") | Err(_) => Ending::Any,
            Ok(key) => Ending::Of(StoreKey::parse(key)),
        });
    }
    Ok(())
}
