//! An address in front of redis-servers, as a fail-over exchanges them behind one name.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};

use super::redis_server::Server;

/// New connections go to the server in service; those that stand stay where they are.
pub(crate) struct Proxy {
    port: u16,
    in_service: Arc<AtomicU16>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// A way that takes its time. What is under way when the server goes is lost.
pub(crate) struct Lag {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Lag {
    pub(crate) async fn before(server: &Server, lag: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.port());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let (late, mut arrives) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
                    let leaves = async {
                        let mut bytes = vec![0; 1 << 16];
                        while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                            if late.send((Instant::now() + lag, bytes[..length].to_vec())).is_err() {
                                break;
                            }
                        }
                    };
                    let arrives = async {
                        while let Some((when, bytes)) = arrives.recv().await {
                            tokio::time::sleep_until(when).await;
                            if to_client.write_all(&bytes).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::select! {
                        () = leaves => {}
                        () = arrives => {}
                        _ = copy(&mut from_client, &mut to_server) => {}
                    }
                });
            }
        });
        Self { port, task }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (in_service, asked) = (Arc::new(AtomicU16::new(server.port())), Arc::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&in_service), Arc::clone(&asked)));
        Self { port, in_service, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn puts_in_service(&self, server: &Server) {
        self.in_service.store(server.port(), SeqCst);
    }

    /// How often a client that waits for each answer asked, since the last time this was asked.
    pub(crate) fn round_trips(&self) -> u64 {
        self.asked.swap(0, SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, in_service: Arc<AtomicU16>, asked: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let (port, asked) = (in_service.load(SeqCst), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let asks = async {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    asked.fetch_add(1, SeqCst);
                    if to_server.write_all(&bytes[..length]).await.is_err() {
                        break;
                    }
                }
            };
            // Whoever goes first takes the other along.
            tokio::select! {
                () = asks => {}
                _ = copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}
