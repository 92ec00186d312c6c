//! What the server tells of sessions that ended, in whatever process: `LISTEN`, on one connection of its own.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use deadpool::managed;
use tokio_postgres::AsyncMessage;

use super::{
    connection::Connection,
    direct::is_direct,
    failure::Failure,
    rows::{int8, unescaped},
    schema::Schema,
    servers::{Servers, Wire},
};
use crate::{
    runtime::Task,
    store::{Ending, StoreError, StoreKey, TellEnding},
};

/// How long the others tell after somebody said that it listens.
const TOLD_FOR: i64 = 300;

/// How often it says so again. It is also how a connection that is dead is found out.
const SAID_EVERY: Duration = Duration::from_secs(20);

/// How long it may take to say so.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a server that cannot be reached is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) fn task(connection: &Connection, tell: TellEnding) -> Option<Task> {
    let (servers, schema) = (connection.servers()?, Arc::clone(&connection.schema));
    Some(Box::pin(async move {
        loop {
            match listen(&servers, &schema, &tell).await {
                // Behind a pooler nobody is told: the store is to be asked.
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "postgres: endings are not told of for a moment"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }))
}

/// Tells until the connection is lost. Ends at once where there is a pooler in between.
async fn listen(servers: &managed::Pool<Servers>, schema: &Schema, tell: &TellEnding) -> Result<(), StoreError> {
    let (client, wire) = servers.manager().connect().await?;
    let says = async {
        let mut has_begun = false;
        loop {
            let said = async {
                if !has_begun {
                    if !is_direct(&client).await? {
                        return Ok(false);
                    }
                    schema.stands(&client).await?;
                    client.batch_execute(&schema.statements.begin_to_listen).await?;
                }
                client.query_typed(&schema.statements.go_on_listening, &[int8(&TOLD_FOR)]).await?;
                Ok::<_, Failure>(true)
            };
            match tokio::time::timeout(ANSWER_LIMIT, said).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(()),
                Ok(Err(failure)) => return Err(failure.while_trying_to("listen")),
                Err(_) => return Err(StoreError::new("postgres: cannot listen: no answer")),
            }
            if !has_begun {
                has_begun = true;
                tell(Ending::Any);
            }
            tokio::time::sleep(SAID_EVERY).await;
        }
    };
    let channel = schema.channel();
    let (mut says, mut hears) = (pin!(says), pin!(hears(wire, &channel, tell)));
    let either = poll_fn(|context| match hears.as_mut().poll(context) {
        Poll::Pending => says.as_mut().poll(context),
        Poll::Ready(error) => Poll::Ready(Err(error)),
    });
    either.await
}

async fn hears(mut wire: Wire, channel: &str, tell: &TellEnding) -> StoreError {
    poll_fn(|context| {
        loop {
            match wire.poll_message(context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(told)))) if told.channel() == channel => {
                    tell(ending(told.payload()));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Failure::Client(error).while_trying_to("listen"));
                }
                Poll::Ready(None) => return Poll::Ready(StoreError::new("postgres: the connection was closed")),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// 64 hexadecimal digits are a key of ours; `=` and a name a foreign one.
fn ending(payload: &str) -> Ending {
    if let Some(name) = payload.strip_prefix('=') {
        return Ending::Of(StoreKey::foreign(unescaped(name)));
    }
    let mut digest = [0; 32];
    let digits = payload.as_bytes().chunks_exact(2);
    let decoded = payload.len() == 64
        && digits.zip(&mut digest).all(|(two, byte)| {
            let parsed = std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok());
            parsed.map(|parsed| *byte = parsed).is_some()
        });
    if decoded { Ending::Of(StoreKey::from_digest(digest)) } else { Ending::Any }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_may_be_any() {
        assert_eq!(ending(&"ab".repeat(32)), Ending::Of(StoreKey::from_digest([0xab; 32])));
        assert_eq!(ending("=sess:1"), Ending::Of(StoreKey::foreign("sess:1")));
        for payload in ["", "ab", &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(ending(payload), Ending::Any, "{payload}");
        }
    }
}
