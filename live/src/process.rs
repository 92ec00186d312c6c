//! Programs that run beside the suite: started, listened to, and always stopped.

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a program may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

type Log = Arc<Mutex<String>>;

/// The process groups that are running, so that nothing outlives the suite.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// What the programs of the present scenario printed.
static LOGS: Mutex<Vec<(String, Log)>> = Mutex::new(Vec::new());

/// A running program with its own process group. Dropped, it is killed with all that it started.
pub(crate) struct Process {
    name: String,
    pub(crate) child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program. What it prints is kept, for the case that the scenario fails.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut process = Self::start_with_pipes(name, command.stdin(Stdio::null()));
        let output = process.child.stdout.take();
        process.keep(output);
        process
    }

    /// The same, but the caller talks to it over `child.stdin` and `child.stdout`.
    pub(crate) fn start_with_pipes(name: &str, command: &mut Command) -> Self {
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        lock(&RUNNING).push(child.id());
        let log = Log::default();
        lock(&LOGS).push((name.to_owned(), Arc::clone(&log)));
        let errors = child.stderr.take();
        let mut process = Self { name: name.to_owned(), child, log, readers: Vec::new() };
        process.keep(errors);
        process
    }

    fn keep(&mut self, pipe: Option<impl Read + Send + 'static>) {
        let Some(pipe) = pipe else { return };
        let log = Arc::clone(&self.log);
        self.readers.push(thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { return };
                let mut log = lock(&log);
                log.push_str(&line);
                log.push('\n');
            }
        }));
    }

    /// What it printed so far.
    pub(crate) fn printed(&self) -> String {
        lock(&self.log).clone()
    }

    /// Waits until it answers on this port.
    pub(crate) fn wait_for_port(&mut self, port: u16) {
        self.wait_until("answers", |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Waits until it ends by itself. The text is all that it printed.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("a child can be waited for");
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        (status, self.printed())
    }

    /// Waits until this is so. `what` says it of the program: "listens".
    pub(crate) fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status} before it {what}", self.name);
            }
            assert!(began.elapsed() < PATIENCE, "{} took too long: it never {what}", self.name);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to stop, as a platform does, and waits until it has.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let process = pid(self.child.id()).expect("a child has an id");
        kill_process(process, Signal::TERM).expect("a child can be signalled");
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return (status, self.printed()),
                _ => assert!(began.elapsed() < PATIENCE, "{} does not stop when asked to", self.name),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    /// Once the leader was waited for, the id may be somebody else's.
    fn drop(&mut self) {
        let mut running = lock(&RUNNING);
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            kill(self.child.id());
            let _ = self.child.wait();
        }
        running.retain(|id| *id != self.child.id());
    }
}

/// A system call, not the program `kill`: that of procps 4.0.2 takes the group `-1234` for `-1`, which is everybody.
fn kill(group: u32) {
    if let Some(group) = pid(group) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The id of a process that can be signalled; never 0 or 1, which mean others too.
fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().filter(|id| *id > 1).and_then(Pid::from_raw)
}

/// What the programs of this scenario printed; the next scenario begins with nothing.
pub(crate) fn take_logs() -> Vec<(String, String)> {
    lock(&LOGS).drain(..).map(|(name, log)| (name, lock(&log).clone())).filter(|(_, log)| !log.is_empty()).collect()
}

/// A port of this machine that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("this machine has a free port").port()
}

/// On Ctrl-C and SIGTERM, ends every program before the suite itself.
pub(crate) fn end_all_when_asked_to_stop() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        lock(&RUNNING).iter().copied().for_each(kill);
        eprintln!("stopped");
        std::process::exit(130);
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
