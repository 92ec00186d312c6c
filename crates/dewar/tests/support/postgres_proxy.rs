//! An address in front of a PostgreSQL, which counts round trips and loses answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::postgres_server::Server;

pub(crate) struct Proxy {
    port: u16,
    facts: Arc<Facts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Facts {
    asked: AtomicU64,
    connections: AtomicU64,
    loses: AtomicBool,
}

impl Proxy {
    pub(crate) async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let facts = Arc::<Facts>::default();
        let task = tokio::spawn(serve(listener, server.port(), Arc::clone(&facts)));
        Self { port, facts, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://live@127.0.0.1:{}/postgres?pool=1", self.port)
    }

    /// How often somebody asked and waited for the answer, since the last time this was asked.
    pub(crate) fn round_trips(&self) -> u64 {
        self.facts.asked.swap(0, SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.facts.connections.load(SeqCst)
    }

    /// The next answer is lost, and the connection with it.
    pub(crate) fn loses_an_answer(&self) {
        self.facts.loses.store(true, SeqCst);
    }

    pub(crate) fn has_lost_it(&self) -> bool {
        !self.facts.loses.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, facts: Arc<Facts>) {
    while let Ok((client, _)) = listener.accept().await {
        let facts = Arc::clone(&facts);
        facts.connections.fetch_add(1, SeqCst);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let is_answered = AtomicBool::new(true);
            let asks = async {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    if is_answered.swap(false, SeqCst) {
                        facts.asked.fetch_add(1, SeqCst);
                    }
                    if to_server.write_all(&bytes[..length]).await.is_err() {
                        break;
                    }
                }
            };
            let answers = async {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                    is_answered.store(true, SeqCst);
                    if facts.loses.swap(false, SeqCst) || to_client.write_all(&bytes[..length]).await.is_err() {
                        break;
                    }
                }
            };
            // Whoever goes first takes the other along.
            tokio::select! {
                () = asks => {}
                () = answers => {}
            }
        });
    }
}
