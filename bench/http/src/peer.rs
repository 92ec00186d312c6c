//! Who is measured, and how each is started.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Where a peer keeps the session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nothing,
    InCookie,
    OnStore,
}

#[derive(Clone, Copy)]
enum Program {
    Serve,
    Towers,
    Actix,
    /// An application, and the modules that it needs.
    Gunicorn(&'static str, &'static str),
    Node,
}

#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: Program,
    pub(crate) keeps: Keeps,
}

/// What the others are compared with.
pub(crate) const BARE: &str = "bare";

pub(crate) const ALL: [Peer; 25] = [
    peer(BARE, Program::Serve, Keeps::Nothing),
    peer("sealed", Program::Serve, Keeps::InCookie),
    peer("private-jar", Program::Serve, Keeps::InCookie),
    peer("flask", Program::Serve, Keeps::InCookie),
    peer("flask-compressed", Program::Serve, Keeps::InCookie),
    peer("signed-jar", Program::Serve, Keeps::InCookie),
    peer("memory", Program::Serve, Keeps::OnStore),
    peer("tower-sessions", Program::Serve, Keeps::OnStore),
    peer("axum-session", Program::Serve, Keeps::OnStore),
    peer("sqlite", Program::Serve, Keeps::OnStore),
    peer("tower-sessions-sqlite", Program::Towers, Keeps::OnStore),
    peer("postgres", Program::Serve, Keeps::OnStore),
    peer("tower-sessions-postgres", Program::Towers, Keeps::OnStore),
    peer("redis", Program::Serve, Keeps::OnStore),
    peer("tower-sessions-redis", Program::Towers, Keeps::OnStore),
    peer("actix", Program::Actix, Keeps::Nothing),
    peer("actix-cookie", Program::Actix, Keeps::InCookie),
    peer("actix-redis", Program::Actix, Keeps::OnStore),
    peer("flask-gunicorn", Program::Gunicorn("flask_app:app", "flask"), Keeps::InCookie),
    peer("django-postgres", Program::Gunicorn("django_app:app", "django, psycopg"), Keeps::OnStore),
    peer("express", Program::Node, Keeps::Nothing),
    peer("express-cookie", Program::Node, Keeps::InCookie),
    peer("express-memory", Program::Node, Keeps::OnStore),
    peer("express-redis", Program::Node, Keeps::OnStore),
    peer("express-postgres", Program::Node, Keeps::OnStore),
];

const fn peer(name: &'static str, program: Program, keeps: Keeps) -> Peer {
    Peer { name, program, keeps }
}

impl Peer {
    pub(crate) fn is_ours(self) -> bool {
        matches!(self.name, "sealed" | "flask" | "flask-compressed" | "memory" | "sqlite" | "postgres" | "redis")
    }

    pub(crate) fn on_redis(self) -> bool {
        self.name.ends_with("redis")
    }

    fn on_postgres(self) -> bool {
        self.name.ends_with("postgres")
    }

    pub(crate) fn warm_up(self) -> Duration {
        if matches!(self.program, Program::Node) { Duration::from_millis(1_500) } else { Duration::ZERO }
    }

    /// How it is started, or what is missing.
    pub(crate) fn command(self, port: u16, scratch: &Path) -> Result<Command, String> {
        if self.on_redis() && std::env::var_os("REDIS_URL").is_none() {
            return Err("REDIS_URL is not set".into());
        }
        if self.on_postgres() && std::env::var_os("POSTGRES_URL").is_none() {
            return Err("POSTGRES_URL is not set".into());
        }
        let port = port.to_string();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = match self.program {
            Program::Serve => Command::new(beside_us("serve")?),
            Program::Towers => Command::new(beside_us("serve-towers")?),
            Program::Actix => Command::new(beside_us("serve-actix")?),
            Program::Node => {
                let express = here.join("express");
                if !express.join("node_modules").is_dir() {
                    return Err("npm ci has not run in bench/http/express".into());
                }
                let mut node = Command::new("node");
                node.env("NODE_ENV", "production").arg(express.join("app.js"));
                node
            }
            Program::Gunicorn(app, modules) => return gunicorn(app, modules, here, &port, scratch),
        };
        // A file for each start: with 100,000 sessions there are so many, and none from before.
        command.env("SQLITE_FILE", scratch.join(format!("{}-{port}.db", self.name)));
        command.args([self.name, &port]);
        Ok(command)
    }
}

fn beside_us(program: &str) -> Result<PathBuf, String> {
    let us = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = us.with_file_name(program);
    if path.is_file() { Ok(path) } else { Err(format!("{program} is not built")) }
}

/// One worker with one thread. Its worker `sync` would close each connection after a request.
fn gunicorn(app: &str, modules: &str, here: &Path, port: &str, scratch: &Path) -> Result<Command, String> {
    let python = std::env::var("PYTHON").map_err(|_| "PYTHON is not set")?;
    let mut imports = Command::new(&python);
    imports.args(["-c", &format!("import gunicorn, {modules}")]).stderr(Stdio::null());
    if !imports.status().is_ok_and(|status| status.success()) {
        return Err(format!("{python} lacks one of gunicorn, {modules}"));
    }
    let mut command = Command::new(python);
    command.args(["-m", "gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "1"]);
    command.args(["--keep-alive", "60", "--graceful-timeout", "1", "--log-level", "warning"]);
    command.args(["--bind", &format!("127.0.0.1:{port}")]).arg("--no-control-socket");
    command.arg("--chdir").arg(here).arg("--worker-tmp-dir").arg(scratch).arg(app);
    Ok(command)
}
