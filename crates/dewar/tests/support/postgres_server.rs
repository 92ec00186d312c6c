//! A PostgreSQL of a test's own, on a free port, stopped at the end.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::directory::Directory;

pub(crate) struct Server {
    directory: Directory,
    settings: Vec<String>,
    child: Child,
    port: u16,
}

/// The user of tests: it may do everything.
const USER: &str = "live";

impl Server {
    /// Starts a server with these settings beside our own: `max_connections=20`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let directory = directory();
        let data = directory.path().join("data");
        let mut initdb = program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run(&mut initdb);
        Self::of(directory, settings)
    }

    /// Starts a replica of this one, which receives what it writes.
    pub(crate) fn replica(&self, settings: &[&str]) -> Self {
        let directory = directory();
        let mut copy = program("pg_basebackup");
        copy.arg("-D").arg(directory.path().join("data")).args(["-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        run(copy.args(["-h", "127.0.0.1", "-U", USER, "-p", &self.port.to_string()]));
        Self::of(directory, settings)
    }

    fn of(directory: Directory, settings: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        let child = spawn(&directory, port, &settings);
        let server = Self { directory, settings, child, port };
        server.wait();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its data, and what a test puts beside it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// As if its machine had gone: `kill -9`, of the processes that it has started, too.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
        // What is shared with whoever comes next is free once the last has gone.
        sleep(Duration::from_millis(50));
    }

    /// Starts it again, on the same port and files.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.directory, self.port, &self.settings);
        self.wait();
    }

    /// Sends a signal by its name to each of its processes.
    pub(crate) fn signal(&self, name: &str) {
        let main = self.child.id();
        let children = processes().filter(|(_, parent)| *parent == main).map(|(process, _)| process);
        let all: Vec<_> = std::iter::once(main).chain(children).map(|process| process.to_string()).collect();
        // Those that have ended by themselves meanwhile are not there to be told.
        let told = Command::new("kill").arg(format!("-{name}")).args(all).stderr(Stdio::null()).status();
        told.unwrap();
    }

    /// Makes a replica a server that is written to; returns when it is.
    pub(crate) fn promote(&self) {
        run(program("pg_ctl").args(["-s", "-w", "promote", "-D"]).arg(self.directory.path().join("data")));
    }

    /// Adds a line to `pg_hba.conf` before the others, and has it read.
    pub(crate) fn admit(&self, line: &str) {
        let file = self.directory.path().join("data/pg_hba.conf");
        let others = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{line}\n{others}")).unwrap();
        run(program("pg_ctl").args(["-s", "reload", "-D"]).arg(self.directory.path().join("data")));
        sleep(Duration::from_millis(200));
    }

    fn wait(&self) {
        let start = Instant::now();
        while !self.answers() {
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(30), "PostgreSQL does not answer: {}", log());
            sleep(Duration::from_millis(20));
        }
    }

    /// It says so in its file, and the process is ours.
    fn answers(&self) -> bool {
        let status = fs::read_to_string(self.directory.path().join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = status.lines();
        lines.next() == Some(&self.child.id().to_string())
            && lines.nth(6).is_some_and(|state| ["ready", "standby"].contains(&state.trim()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Directory, port: u16, settings: &[String]) -> Child {
    let mut server = program("postgres");
    server.arg("-D").arg(directory.path().join("data")).args([
        "-p",
        &port.to_string(),
        "-c",
        "listen_addresses=127.0.0.1",
    ]);
    server.args(["-c", &format!("unix_socket_directories={}", directory.path().display())]);
    for setting in ["fsync=off", "shared_buffers=32MB", "hot_standby=on", "wal_keep_size=64MB"] {
        server.args(["-c", setting]);
    }
    for setting in settings {
        server.args(["-c", setting]);
    }
    let log = fs::File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
    server.stdout(Stdio::null()).stderr(log).spawn().expect("PostgreSQL can be started")
}

/// One of PostgreSQL's programs. It refuses to be run by root.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join(name));
    command.current_dir("/").env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    as_its_user(&mut command);
    command
}

/// Has the command run as Debian's user `postgres` where root runs the tests.
pub(crate) fn as_its_user(command: &mut Command) {
    if let Some((user, group)) = its_user() {
        command.uid(user).gid(group);
    }
}

/// A directory that belongs to whoever runs the server.
pub(crate) fn directory() -> Directory {
    let directory = Directory::new();
    give(directory.path());
    directory
}

/// Gives a file to whoever runs the server, for nobody else to read.
pub(crate) fn give(path: &Path) {
    use std::os::unix::fs::{PermissionsExt, chown};
    if let Some((user, group)) = its_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn its_user() -> Option<(u32, u32)> {
    let number = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("Debian's user postgres")
    };
    (number(&["-u"]) == 0).then(|| (number(&["-u", "postgres"]), number(&["-g", "postgres"])))
}

/// `POSTGRES_PROGRAMS`, for another version. Debian has a folder for each; elsewhere the programs are on the path.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("POSTGRES_PROGRAMS") {
        return folder.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin")).filter(|folder| folder.join("postgres").exists());
    folders.max().unwrap_or_default()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every process, with its parent.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before may have anything in it.
        let (_, fields) = status.rsplit_once(") ")?;
        Some((process, fields.split(' ').nth(1)?.parse().ok()?))
    })
}
