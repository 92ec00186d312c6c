//! A PgBouncer of a test's own, in transaction mode, in front of a PostgreSQL.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    postgres_server::{Server, as_its_user, directory, give},
    stores::Directory,
};

pub(crate) struct Pooler {
    directory: Directory,
    child: Child,
    port: u16,
}

impl Pooler {
    /// With so few connections to the server that everybody meets everybody's.
    pub(crate) fn start(server: &Server) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = directory();
        let (file, pid) = (directory.path().join("pgbouncer.ini"), directory.path().join("pid"));
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=live\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n\
             auth_type=any\npool_mode=transaction\ndefault_pool_size=3\nmax_client_conn=200\npidfile={}\n",
            server.port(),
            pid.display()
        );
        fs::write(&file, settings).unwrap();
        give(&file);
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        as_its_user(&mut command);
        let child = command.spawn().expect("pgbouncer can be started");
        let start = Instant::now();
        while fs::read_to_string(&pid).unwrap_or_default().trim() != child.id().to_string() {
            assert!(start.elapsed() < Duration::from_secs(10), "pgbouncer does not start");
            sleep(Duration::from_millis(20));
        }
        Self { directory, child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://live@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.directory.path();
    }
}
