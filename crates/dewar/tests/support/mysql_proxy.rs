//! An address in front of a server, where each question is counted and an answer can get lost.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering::SeqCst},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    in_service: AtomicU16,
    asked: AtomicU64,
    /// How many answers come through before one gets lost. Negative: all do.
    answers: AtomicI64,
}

impl Proxy {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared =
            Arc::new(Shared { in_service: port.into(), asked: AtomicU64::default(), answers: AtomicI64::new(-1) });
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { port, shared, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// New connections go there; those that stand stay where they are.
    pub(crate) fn puts_in_service(&self, port: u16) {
        self.shared.in_service.store(port, SeqCst);
    }

    /// How often a client that waits for each answer asked, since the last time this was asked.
    pub(crate) fn round_trips(&self) -> u64 {
        self.shared.asked.swap(0, SeqCst)
    }

    /// So many answers come through, and the connection is closed in the place of the next.
    pub(crate) fn loses_the_answer_after(&self, answers: i64) {
        self.shared.answers.store(answers, SeqCst);
    }

    /// Whether it got lost.
    pub(crate) fn has_lost_it(&self) -> bool {
        self.shared.answers.swap(-1, SeqCst) < 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", shared.in_service.load(SeqCst))).await else { return };
            let _ = pass(client, server, &shared).await;
        });
    }
}

/// One side after the other: a client of MySQL's waits for each answer.
async fn pass(mut client: TcpStream, mut server: TcpStream, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    // Of the last bytes that passed.
    let mut is_question = true;
    loop {
        tokio::select! {
            read = client.read(&mut question) => {
                let length @ 1.. = read? else { return Ok(()) };
                if !std::mem::replace(&mut is_question, true) {
                    shared.asked.fetch_add(1, SeqCst);
                }
                server.write_all(&question[..length]).await?;
            }
            read = server.read(&mut answer) => {
                let length @ 1.. = read? else { return Ok(()) };
                let is_first = std::mem::replace(&mut is_question, false);
                if is_first && shared.answers.load(SeqCst) >= 0 && shared.answers.fetch_sub(1, SeqCst) == 0 {
                    return Ok(());
                }
                client.write_all(&answer[..length]).await?;
            }
        }
    }
}
