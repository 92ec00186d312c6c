//! `growth`: what one costs among few and among many, and what a forged cookie costs beside a valid one. Tab separated; Redis where
//! `REDIS_URL` is set.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dewar::{Session, SessionLayer, SessionManager, store, testing::Visitor};
use futures_util::future::try_join_all;
use http::HeaderMap;

mod forged;

const SECRET: &str = "dewar_b4a1f1b3bd2fb9a4c3b9b7f4ccf1ae27c0d0e6e2c5b8d2b74bd5a09b10a7c9e2";
const SIZES: [u64; 4] = [100, 1_000, 10_000, 50_000];

fn layer() -> SessionLayer {
    SessionLayer::new(dewar::Secret::dangerously_weak(SECRET)).expect("a secret")
}

/// The least of three: what disturbs only ever adds.
async fn least(mut once: impl AsyncFnMut() -> Duration) -> Duration {
    let mut least = once().await;
    for _ in 0..2 {
        least = least.min(once().await);
    }
    least
}

/// What each of its kind cost among the fewest.
type Firsts = BTreeMap<String, f64>;

fn report(firsts: &mut Firsts, what: &str, many: u64, time: Duration) {
    let each = time.as_secs_f64() * 1e6 / many as f64;
    let first = *firsts.entry(what.to_owned()).or_insert(each);
    println!("{what}\t{many}\t{each:.3}\t{:.2}", each / first);
}

async fn in_one_request(manager: &SessionManager) {
    let mut firsts = Firsts::new();
    for many in SIZES {
        let mut measure = async |what: &str, prepare: &dyn Fn(&Session), act: &dyn Fn(&Session)| {
            let time = least(async || {
                let session = manager.open(&HeaderMap::new()).await.expect("it opens");
                prepare(&session);
                let start = Instant::now();
                act(&session);
                start.elapsed()
            });
            report(&mut firsts, what, many, time.await);
        };
        let name = |at| format!("entry {at}");
        let fill = |session: &Session| (0..many).for_each(|at| session.insert(&*name(at), at));
        let flash = |session: &Session| (0..many).for_each(|_| session.flash("saved"));
        let read = |session: &Session| assert!((0..many).all(|at| session.get::<u64>(&*name(at)) == Some(at)));
        let remove = |session: &Session| assert!((0..many).all(|at| session.take::<u64>(&*name(at)) == Some(at)));
        measure("flashes in one request", &|_| (), &flash).await;
        measure("entries in one request", &|_| (), &fill).await;
        measure("each entry read once", &fill, &read).await;
        measure("each entry removed", &fill, &remove).await;
    }
}

/// A commit that took each of its messages at once, beside a request that left as many.
async fn beside_another(manager: &SessionManager) {
    let mut firsts = Firsts::new();
    for many in SIZES {
        let time = least(async || {
            let visitor = Visitor::prepared(manager, |session| session.insert("a", 1)).await.expect("it is saved");
            let one = visitor.session().await.expect("it opens");
            let other = visitor.session().await.expect("it opens");
            for _ in 0..many {
                other.flash("m");
                one.flash("n");
                assert_eq!(one.take_flashes().len(), 1);
            }
            manager.commit(&other).await.apply(&mut HeaderMap::new()).expect("it is saved");
            let start = Instant::now();
            manager.commit(&one).await.apply(&mut HeaderMap::new()).expect("it is saved");
            start.elapsed()
        });
        report(&mut firsts, "flashes taken one by one, beside as many", many, time.await);
    }
}

/// Sessions of one user, listed, and all others ended.
async fn of_one_user(what: &str, manager: &SessionManager) {
    let mut firsts = Firsts::new();
    for many in SIZES {
        let user = format!("user of {many}, {}", rand::random::<u64>());
        let log_in = |session: &Session| session.set_principal(&user);
        let mut last = None;
        for at in 0..many.div_ceil(100) {
            // Many at once, for a store that groups its writes.
            let of_hundred = (0..100.min(many - 100 * at)).map(|_| Visitor::prepared(manager, log_in));
            last = try_join_all(of_hundred).await.expect("the store answers").pop();
        }
        let session = last.expect("more than none").session().await.expect("it opens");
        let start = Instant::now();
        let listed = manager.sessions_of(&user).await.expect("the store answers").len() as u64;
        report(&mut firsts, &format!("{what}: sessions_of"), many, start.elapsed());
        let start = Instant::now();
        let ended = manager.revoke_others(&session).await.expect("the store answers");
        report(&mut firsts, &format!("{what}: revoke_others"), many, start.elapsed());
        assert_eq!((listed, ended), (many, many - 1));
    }
}

#[tokio::main]
async fn main() {
    println!("what\thow many, or bytes\tmicroseconds each\ttimes the first of its kind");
    let memory = layer().store(store::memory::MemoryStore::new()).manager().expect("settings");
    in_one_request(&memory).await;
    beside_another(&memory).await;
    of_one_user("memory", &memory).await;
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("sessions.db").display());
    let sqlite = layer().store(store::open(&url).expect("a URL")).manager().expect("settings");
    of_one_user("sqlite", &sqlite).await;
    match std::env::var("REDIS_URL") {
        Ok(url) => {
            of_one_user("redis", &layer().store(store::open(&url).expect("a URL")).manager().expect("settings")).await
        }
        Err(_) => eprintln!("redis: not measured, REDIS_URL is not set"),
    }
    forged::measure().await;
}
