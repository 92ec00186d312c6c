//! Whether a connection leads to the server itself, or to a pooler.
//!
//! A server prepares a statement for one of its processes. A pooler in transaction mode leads each statement to another process, where the name of a
//! prepared statement may be that of somebody else's. So a statement is prepared only where the process that answers is the one that the
//! connection's own key names: a pooler gives a key of its own.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Client, Error,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

pub(super) async fn is_direct(client: &Client) -> Result<bool, Error> {
    let Some(named) = named_process(client).await else { return Ok(false) };
    let answers: i32 = client.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?;
    Ok(answers == named)
}

/// The process that the key names. The client shows it in nothing but a request to cancel, which is written here and never sent.
async fn named_process(client: &Client) -> Option<i32> {
    let written = Arc::<Mutex<Vec<u8>>>::default();
    client.cancel_token().cancel_query_raw(Letter(Arc::clone(&written)), Unsealed).await.ok()?;
    let written = written.lock().unwrap_or_else(PoisonError::into_inner);
    // Its length, its code, the process, and the secret: four bytes each.
    let request = written.last_chunk::<16>()?;
    request[8..12].try_into().ok().map(i32::from_be_bytes)
}

/// Takes what is written, and says yes to encryption.
struct Letter(Arc<Mutex<Vec<u8>>>);

impl AsyncWrite for Letter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Letter {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        read.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Letter {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

struct Unsealed;

impl TlsConnect<Letter> for Unsealed {
    type Stream = Letter;
    type Error = io::Error;
    type Future = Ready<io::Result<Letter>>;

    fn connect(self, letter: Letter) -> Self::Future {
        ready(Ok(letter))
    }
}
