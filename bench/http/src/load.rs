//! What the client asks a server for: its sessions, whether it does what it should, and a turn of requests.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::LocalSet;

use crate::{
    client::Connection,
    peer::Keeps,
    server::{Cpu, Server},
};

const CONNECTIONS: usize = 16;

/// A slow peer has fewer sessions than the others, rather than all of them waiting for it.
const SEEDING: Duration = Duration::from_secs(15);

pub(crate) type Cookies = Rc<Vec<Vec<u8>>>;

/// As many sessions, each in cookies of its own, as there are in the time.
pub(crate) async fn seed(server: &Server, sessions: usize) -> Cookies {
    if server.peer.keeps == Keeps::Nothing {
        return Rc::new(vec![b"nothing=here".to_vec(); sessions]);
    }
    let cookies = Rc::new(RefCell::new(Vec::with_capacity(sessions)));
    let begun = Rc::new(Cell::new(0));
    let end = Instant::now() + SEEDING;
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (cookies, begun, name, address) =
                (Rc::clone(&cookies), Rc::clone(&begun), server.peer.name, server.address);
            local.spawn_local(async move {
                let mut connection = Connection::open(address).await.expect("it listens");
                while begun.get() < sessions && Instant::now() < end {
                    begun.set(begun.get() + 1);
                    let answer = connection.call("/seed", b"").await.expect("it answers");
                    assert_eq!(answer.status, 200, "{name}: /seed");
                    cookies.borrow_mut().push(answer.cookies());
                }
            })
        })
        .collect();
    local.await;
    for task in tasks {
        task.await.expect("a task that seeds");
    }
    Rc::new(cookies.take())
}

/// # Panics
///
/// Where the server does not do what it should: a benchmark of failures would be fast.
pub(crate) async fn check(server: &Server) {
    let peer = server.peer;
    let mut connection = Connection::open(server.address).await.expect("it listens");
    let mut cookies = Vec::new();
    // A second write finds what the first has written.
    let second = if peer.keeps == Keeps::Nothing { "42" } else { "43" };
    let asked = [
        ("/seed", "Hello"),
        ("/untouched", "Hello"),
        ("/read", "Ada"),
        ("/write", "42"),
        ("/write", second),
        ("/read", "Ada"),
        ("/login", "Hello"),
    ];
    for (path, expected) in asked {
        if path == "/login" {
            cookies.clear();
        }
        let answer = connection.call(path, &cookies).await.expect("it answers");
        assert_eq!((answer.status, answer.body), (200, expected.as_bytes()), "{}: {path}", peer.name);
        let set = answer.cookies();
        let must = match (peer.keeps, path) {
            (Keeps::Nothing, _) => Some(false),
            (_, "/seed" | "/login") => Some(true),
            (Keeps::InCookie, "/write") => Some(true),
            // Some set it again and again; a session of ours that exists on a store keeps its cookie.
            _ => peer.is_ours().then_some(false),
        };
        assert!(must.is_none_or(|must| must != set.is_empty()), "{}: {path}: Set-Cookie", peer.name);
        if !set.is_empty() {
            cookies = set;
        }
    }
}

/// What one request of a turn took.
#[derive(Clone, Copy)]
pub(crate) struct Each {
    pub(crate) cpu: f64,
    /// Of the Redis server.
    pub(crate) redis: f64,
    pub(crate) a_second: f64,
}

/// Requests over connections that stay open, each sent when the one before is answered, of the sessions in turn.
pub(crate) async fn turn(
    server: &Server,
    path: &'static str,
    cookies: &Cookies,
    redis: &Cpu,
    length: Duration,
) -> Each {
    let name = server.peer.name;
    let asked = Rc::new(Cell::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(server.address).await.expect("it listens");
        connection.call("/untouched", b"").await.expect("it answers");
        connections.push(connection);
    }
    let local = LocalSet::new();
    let (before, redis_before, start) = (server.cpu.read(), redis.read(), Instant::now());
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (asked, cookies) = (Rc::clone(&asked), Rc::clone(cookies));
            local.spawn_local(async move {
                while start.elapsed() < length {
                    let at = asked.replace(asked.get() + 1);
                    let cookie: &[u8] = if path == "/login" { b"" } else { &cookies[at % cookies.len()] };
                    let answer = connection.call(path, cookie).await.expect("it answers");
                    assert_eq!(answer.status, 200, "{name}: {path}");
                }
            })
        })
        .collect();
    local.await;
    let wall = start.elapsed();
    let (after, redis_after) = (server.cpu.read(), redis.read());
    for task in tasks {
        task.await.expect("a task that asks");
    }
    let count = asked.get() as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count;
    Each {
        cpu: each(after.since(&before)),
        redis: each(redis_after.since(&redis_before)),
        a_second: count / wall.as_secs_f64(),
    }
}
