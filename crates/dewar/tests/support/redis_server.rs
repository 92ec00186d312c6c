//! A redis-server of a test's own, on a free port, stopped at the end. `REDIS_SERVER` is another program that is to take its place.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::stores::Directory;

pub(crate) struct Server {
    directory: Directory,
    /// Of a sentinel.
    settings: Option<String>,
    arguments: Vec<String>,
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `redis-server` with these settings beside our own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::begin(free_port(), arguments, None)
    }

    /// Starts a sentinel with these lines in its settings.
    pub(crate) fn sentinel(arguments: &[&str], settings: &str) -> Self {
        Self::begin(free_port(), arguments, Some(settings))
    }

    fn begin(port: u16, arguments: &[&str], settings: Option<&str>) -> Self {
        let directory = Directory::new();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).into()).collect();
        let settings = settings.map(|settings| {
            let file = directory.path().join("sentinel.conf");
            std::fs::write(&file, settings).unwrap();
            file.display().to_string()
        });
        let child = spawn(&directory, port, &arguments, settings.as_deref());
        let server = Self { directory, settings, arguments, child, port };
        server.wait();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What is told to a replica of it, and to sentinels.
    pub(crate) fn host_and_port(&self) -> String {
        format!("127.0.0.1 {}", self.port)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port and files.
    pub(crate) fn restart(&mut self) {
        self.begin_again();
        self.wait();
    }

    /// The same, without waiting until it has loaded its data.
    pub(crate) fn begin_again(&mut self) {
        self.child = spawn(&self.directory, self.port, &self.arguments, self.settings.as_deref());
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn wait(&self) {
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not answer");
            sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (mut answer, mut bytes) = (Vec::new(), [0; 4_096]);
        let asked = stream.write_all(b"PING\r\nINFO server\r\n");
        // Whoever asks for a password does not say who it is.
        let is_over =
            |answer: &[u8]| answer.starts_with(b"-") || answer.windows(14).any(|window| window == b"uptime_in_days");
        while asked.is_ok() && !is_over(&answer) {
            match stream.read(&mut bytes) {
                Ok(length @ 1..) => answer.extend(&bytes[..length]),
                _ => return false,
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        let is_own = answer.contains(&format!("process_id:{}\r\n", self.child.id()));
        answer.starts_with("-NOAUTH") || answer.starts_with("+PONG") && is_own
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What is started as a server.
pub(crate) fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

fn spawn(directory: &Directory, port: u16, arguments: &[String], settings: Option<&str>) -> Child {
    let mut command = Command::new(program());
    command.args(settings).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    match settings {
        Some(_) => command.arg("--sentinel"),
        None => command.args(["--save", "", "--repl-diskless-sync-delay", "0"]),
    };
    command.arg("--dir").arg(directory.path()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{} can be started: {error}", program()))
}
