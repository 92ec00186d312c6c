//! A MariaDB or MySQL server of a test's own, on a free port, stopped at the end.
//!
//! `MYSQLD` names the program; MariaDB's, from the path, where it is not set.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dewar::store::mysql::MysqlStore;
use mysql_async::{Conn, OptsBuilder, Row, prelude::Queryable};
use tokio::time::sleep;

use super::directory::Directory;

/// What the store's user is called, and what a message must never say.
pub(crate) const PASSWORD: &str = "s3cret-of-the-tests";

pub(crate) struct Server {
    directory: Directory,
    arguments: Vec<String>,
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a server with these settings beside our own.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let directory = Directory::new();
        let copied = Command::new("cp").arg("-a").arg(template()).arg(directory.path().join("data")).status();
        assert!(copied.unwrap().success());
        fs::write(directory.path().join("init.sql"), init()).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).into()).collect();
        let spawned = |directory: &Directory| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            (spawn(directory.path(), port, &arguments), port)
        };
        let (child, port) = spawned(&directory);
        let mut server = Self { directory, arguments: arguments.clone(), child, port };
        // A port that was free a moment ago may be another test's by now.
        for _ in 0..5 {
            match server.stands().await {
                Ok(()) => return server,
                Err(log) if log.contains("in use") => (server.child, server.port) = spawned(&server.directory),
                Err(log) => panic!("the server ended: {log}"),
            }
        }
        panic!("no port is free");
    }

    /// Of the store's user, in the database `site`.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same, by way of another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("mysql://dewar:{PASSWORD}@127.0.0.1:{port}/site")
    }

    pub(crate) fn store(&self) -> MysqlStore {
        MysqlStore::open(&self.url()).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A connection of somebody who may do everything.
    pub(crate) async fn admin(&self) -> Conn {
        self.try_admin().await.expect("the server answers")
    }

    /// Runs a statement as somebody who may do everything.
    pub(crate) async fn run(&self, statement: &str) {
        self.admin().await.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Lets the store's user do this alone.
    pub(crate) async fn grant_only(&self, rights: &[&str]) {
        self.run("REVOKE ALL PRIVILEGES, GRANT OPTION FROM dewar@'%'").await;
        for right in rights {
            self.run(&format!("GRANT {right} TO dewar@'%'")).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port and files.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.port, &self.arguments);
        self.stands().await.unwrap_or_else(|log| panic!("the server ended: {log}"));
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    async fn try_admin(&self) -> mysql_async::Result<Conn> {
        let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port).user(Some("admin"));
        Conn::new(opts.db_name(Some("site")).prefer_socket(false)).await
    }

    /// Waits until it answers, and sees that the one that does is our own. Where it ended, what it wrote.
    async fn stands(&mut self) -> Result<(), String> {
        let start = Instant::now();
        let mut connection = loop {
            match tokio::time::timeout(Duration::from_secs(1), self.try_admin()).await {
                Ok(Ok(connection)) => break connection,
                other => {
                    let ended = self.child.try_wait().unwrap();
                    let log = || fs::read_to_string(self.path().join("log")).unwrap_or_default();
                    if let Some(status) = ended {
                        return Err(format!("{status}\n{}", log()));
                    }
                    assert!(start.elapsed() < Duration::from_secs(60), "it does not answer: {other:?}\n{}", log());
                }
            }
            sleep(Duration::from_millis(50)).await;
        };
        let mut row: Row = connection.query_first("SELECT @@pid_file").await.unwrap().unwrap();
        let file: String = row.take(0).unwrap();
        let id = fs::read_to_string(&file).unwrap();
        assert_eq!(id.trim(), self.child.id().to_string(), "another server answers on our port");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let known =
        || ["mariadbd", "/usr/sbin/mariadbd"].map(PathBuf::from).into_iter().find(|path| version(path).is_some());
    env::var_os("MYSQLD").map(PathBuf::from).or_else(known).expect("MariaDB is installed, or MYSQLD names a server")
}

fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).args(["--no-defaults", "--version"]).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn is_mariadb() -> bool {
    version(&program()).expect("the server says its version").contains("MariaDB")
}

/// A command of the server. Where a superuser runs it, the server would refuse to start unless told.
fn command() -> Command {
    let mut command = Command::new(program());
    command.arg("--no-defaults");
    let user = Command::new("id").arg("-u").output().unwrap();
    if user.stdout.trim_ascii() == b"0" {
        command.arg("--user=root");
    }
    command
}

/// Fresh files, made once and copied since.
fn template() -> PathBuf {
    let version = version(&program()).expect("the server says its version");
    let name: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let template = option_env!("CARGO_TARGET_TMPDIR").map_or_else(env::temp_dir, PathBuf::from).join(name);
    // One of this process makes it.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if template.exists() {
        return template;
    }
    let directory = Directory::new();
    let data = directory.path().join("data");
    let mut make = if is_mariadb() {
        let mut make = Command::new("mariadb-install-db");
        make.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
        ]);
        if command().get_args().count() > 1 {
            make.arg("--user=root");
        }
        make
    } else {
        let mut make = command();
        make.args(["--initialize-insecure", "--innodb-redo-log-capacity=8M"]);
        make
    };
    make.env("TMPDIR", directory.path());
    let made = make.arg(format!("--datadir={}", data.display())).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Another process may have been faster.
    let part = template.with_extension(std::process::id().to_string());
    assert!(Command::new("cp").arg("-a").arg(&data).arg(&part).status().unwrap().success());
    if fs::rename(&part, &template).is_err() {
        fs::remove_dir_all(&part).unwrap();
    }
    template
}

/// What the server runs whenever it starts, one statement a line.
fn init() -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS site;\n\
         CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY '';\n\
         GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;\n\
         CREATE USER IF NOT EXISTS dewar@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON site.* TO dewar@'%';\n"
    )
}

fn spawn(directory: &Path, port: u16, arguments: &[String]) -> Child {
    let mut command = command();
    let place = |name: &str, file: &str| format!("--{name}={}", directory.join(file).display());
    command
        .args([
            place("datadir", "data"),
            place("socket", "socket"),
            place("pid-file", "pid"),
            place("init-file", "init.sql"),
        ])
        .args(["--bind-address=127.0.0.1", &format!("--port={port}"), "--skip-name-resolve"])
        .args(["--innodb-buffer-pool-size=32M", "--performance-schema=OFF", "--innodb-flush-log-at-trx-commit=0"]);
    if is_mariadb() {
        command.arg("--innodb-log-file-size=8M");
    } else {
        command.args(["--mysqlx=OFF", "--disable-log-bin", "--innodb-redo-log-capacity=8M", "--secure-file-priv=NULL"]);
    }
    // A server that starts deletes the temporary tables of all that share its folder.
    command.env("TMPDIR", directory);
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the server can be started")
}
