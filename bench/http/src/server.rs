//! A running server: started, waited for, its processor time read, and always stopped.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{client::Connection, peer::Peer};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    pub(crate) cpu: Cpu,
    child: Child,
}

impl Server {
    /// Starts it and waits for its first answer. The error says what is missing.
    ///
    /// # Panics
    ///
    /// Where nothing is missing, and yet it does not answer.
    pub(crate) async fn start(peer: Peer, scratch: &Path) -> Result<Self, String> {
        let port = free_port();
        let log = scratch.join(format!("{}-{port}.log", peer.name));
        let output = File::create(&log).expect("our own directory");
        let mut command = peer.command(port, scratch)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut server = Self { peer, address, cpu: Cpu::default(), child };
        let began = Instant::now();
        while !answers(address).await {
            let ended = server.child.try_wait().expect("our own child").is_some();
            if ended || began.elapsed() > PATIENCE {
                panic!("{} does not answer: {}", peer.name, fs::read_to_string(&log).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // gunicorn's worker is a child, and is there now: it has answered.
        server.cpu = Cpu::of(server.child.id());
        Ok(server)
    }
}

impl Drop for Server {
    /// gunicorn passes TERM on to its worker; a KILL would leave that one behind.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn answers(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    connection.call("/untouched", b"").await.is_ok_and(|answer| answer.status == 200)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.expect("this machine has a free port").port()
}

/// Whose time on a processor is counted: these processes.
#[derive(Default)]
pub(crate) struct Cpu(Vec<u32>);

impl Cpu {
    /// A process and all that it has started.
    pub(crate) fn of(process: u32) -> Self {
        let parents: Vec<(u32, u32)> = numbers(Path::new("/proc")).filter_map(|id| Some((id, parent(id)?))).collect();
        let mut family = vec![process];
        let mut at = 0;
        while let Some(&of) = family.get(at) {
            family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| id));
            at += 1;
        }
        Self(family)
    }

    /// What each thread has used until now. A thread that ends between two readings is not in their difference: those
    /// of a pool stay as long as they are busy.
    pub(crate) fn read(&self) -> Reading {
        let mut threads = HashMap::new();
        for process in &self.0 {
            let tasks = Path::new("/proc").join(process.to_string()).join("task");
            for thread in numbers(&tasks) {
                let schedstat = tasks.join(thread.to_string()).join("schedstat");
                let nanoseconds = fs::read_to_string(schedstat)
                    .ok()
                    .and_then(|text| text.split(' ').next().and_then(|first| first.parse().ok()));
                threads.insert(thread, nanoseconds.unwrap_or(0));
            }
        }
        Reading(threads)
    }
}

pub(crate) struct Reading(HashMap<u32, u64>);

impl Reading {
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, now)| now.saturating_sub(*before.0.get(thread).unwrap_or(&0)));
        Duration::from_nanos(used.sum())
    }
}

fn numbers(directory: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `1234 (name) S 1 ...`: the name may hold anything, brackets too.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
