//! Generated histories of three racing clients against a model: plain maps and a clock.

use std::{collections::BTreeMap, time::Duration};

use dewar::{Clock, Session, SessionLayer, SessionManager, store::SessionAdmin, testing::Visitor};

use super::{
    http::secret,
    site::{Request, visit},
};

const IDLE: u64 = 86_400;
const ABSOLUTE: u64 = 30 * 86_400;
const MARK: u64 = 120;
const CLIENTS: usize = 3;

type Entries = BTreeMap<String, i64>;

#[derive(Clone, Debug)]
enum Act {
    Insert(String, i64),
    Remove(String),
    Add(String),
    Clear,
    Renew,
    LogIn(String),
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Do(usize, Act),
    End(usize),
    Advance(u64),
}

/// Splitmix64: a seed repeats a history.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn name(&mut self) -> String {
        ["a", "b", "c"][self.roll(3) as usize].to_owned()
    }

    fn act(&mut self) -> Act {
        match self.roll(12) {
            0..=3 => Act::Insert(self.name(), self.roll(100) as i64),
            4..=5 => Act::Remove(self.name()),
            6..=8 => Act::Add(self.name()),
            9 => Act::Clear,
            10 => Act::Renew,
            _ => Act::LogIn(["ada", "eve"][self.roll(2) as usize].to_owned()),
        }
    }

    fn step(&mut self, pauses: &[u64]) -> Step {
        let client = self.roll(CLIENTS as u64) as usize;
        match self.roll(10) {
            0..=2 => Step::Begin(client),
            3..=5 => Step::Do(client, self.act()),
            6..=8 => Step::End(client),
            _ => Step::Advance(pauses[self.roll(pauses.len() as u64) as usize]),
        }
    }
}

/// A session as the model keeps it.
#[derive(Clone, Debug)]
struct Kept {
    entries: Entries,
    principal: Option<String>,
    born: u64,
    seen: u64,
    version: u64,
    ended: Option<u64>,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.principal.is_none()
    }

    fn lives(&self, now: u64) -> bool {
        let idle = if self.is_empty() { MARK } else { IDLE };
        self.ended.is_none() && now < self.seen + idle && now < self.born + ABSOLUTE
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Same,
    Renewed,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Opened {
    New { refused: bool },
    Gone,
    Existing { at: usize, version: u64, touch: bool, empty: bool },
}

/// A request as the model sees it.
struct Running {
    real: Request,
    opened: Opened,
    entries: Entries,
    principal: Option<String>,
    acts: Vec<Act>,
    fate: Fate,
    born: u64,
}

struct World {
    manager: SessionManager,
    clock: Clock,
    now: u64,
    kept: Vec<Kept>,
    visitors: Vec<Visitor>,
    cookies: Vec<Option<usize>>,
    running: Vec<Option<Running>>,
}

/// Seconds between steps: enough for marks to go, sessions to be touched, and to expire.
pub const EVERY_PAUSE: [u64; 5] = [1, 60, 130, 9_000, 90_000];

/// Runs so many histories on one store, with pauses of these lengths; a failing one prints its seed, and `HISTORY_SEED` repeats it alone.
pub async fn run(store: impl SessionAdmin, histories: u64, pauses: &[u64]) {
    let clock = Clock::at(dewar::store::Timestamp::from_secs(1_800_000_000));
    let manager = SessionLayer::new(secret()).unwrap().store(store).clock(clock.clone()).manager().unwrap();
    let only = std::env::var("HISTORY_SEED").ok().map(|seed| seed.parse::<u64>().expect("HISTORY_SEED is a number"));
    let first = only.unwrap_or_else(|| std::process::id().into());
    for seed in first..first + if only.is_some() { 1 } else { histories } {
        let mut dice = Dice(seed);
        let steps: Vec<Step> = (0..10 + dice.roll(25)).map(|_| dice.step(pauses)).collect();
        let world = World::begin(&manager, &clock).await;
        let ran = std::panic::AssertUnwindSafe(world.run(&steps));
        if let Err(panic) = futures_catch(ran).await {
            eprintln!("the history of HISTORY_SEED={seed} failed: {steps:#?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// `catch_unwind` of a future, poll by poll.
async fn futures_catch<F: Future>(future: std::panic::AssertUnwindSafe<F>) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(move |context| {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    })
    .await
}

impl World {
    async fn begin(manager: &SessionManager, clock: &Clock) -> Self {
        let mut visitor = Visitor::new(manager);
        visit(&mut visitor, manager, |session| session.insert("a", 1)).await;
        let now = clock.now().as_secs();
        let kept = Kept {
            entries: Entries::from([("a".into(), 1)]),
            principal: None,
            born: now,
            seen: now,
            version: 0,
            ended: None,
        };
        Self {
            manager: manager.clone(),
            clock: clock.clone(),
            now,
            kept: vec![kept],
            visitors: vec![visitor; CLIENTS],
            cookies: vec![Some(0); CLIENTS],
            running: (0..CLIENTS).map(|_| None).collect(),
        }
    }

    async fn run(mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Advance(seconds) => {
                    self.clock.advance(Duration::from_secs(*seconds));
                    self.now += seconds;
                }
                Step::Begin(client) if self.running[*client].is_none() => self.open(*client).await,
                Step::Do(client, act) => {
                    if let Some(running) = &mut self.running[*client] {
                        running.act(act);
                    }
                }
                Step::End(client) => {
                    if let Some(running) = self.running[*client].take() {
                        self.end(*client, running).await;
                    }
                }
                Step::Begin(_) => {}
            }
        }
        for client in 0..CLIENTS {
            if let Some(running) = self.running[client].take() {
                self.end(client, running).await;
            }
        }
        for client in 0..CLIENTS {
            self.open(client).await;
        }
    }

    async fn open(&mut self, client: usize) {
        let real = Request::begin(&self.visitors[client], &self.manager).await;
        let (opened, entries, principal, born) = match self.cookies[client].map(|at| (at, &self.kept[at])) {
            None => (Opened::New { refused: false }, Entries::new(), None, self.now),
            Some((at, kept)) if kept.lives(self.now) => {
                let touch = !kept.is_empty() && self.now - kept.seen >= IDLE / 10;
                let opened = Opened::Existing { at, version: kept.version, touch, empty: kept.is_empty() };
                (opened, kept.entries.clone(), kept.principal.clone(), kept.born)
            }
            Some((_, Kept { ended: Some(ended), .. })) if self.now < ended + MARK => {
                (Opened::Gone, Entries::new(), None, self.now)
            }
            Some(_) => (Opened::New { refused: true }, Entries::new(), None, self.now),
        };
        assert_eq!(look(&real.session), entries, "what client {client} finds");
        assert_eq!(real.session.principal(), principal);
        self.running[client] =
            Some(Running { real, opened, entries, principal, acts: Vec::new(), fate: Fate::Same, born });
    }

    async fn end(&mut self, client: usize, running: Running) {
        assert_eq!(look(&running.real.session), running.entries, "what client {client} sees in mid-request");
        let Running { real, opened, entries, principal, acts, fate, born } = running;
        self.visitors[client].receive(&real.end().await.unwrap());
        let now = self.now;
        let fresh = Kept {
            entries,
            principal,
            born: if fate == Fate::Ended { now } else { born },
            seen: now,
            version: 0,
            ended: None,
        };
        match (opened, fate) {
            (Opened::Gone, Fate::Same | Fate::Renewed) => {}
            (Opened::New { refused: true }, Fate::Ended) if fresh.is_empty() => self.cookies[client] = None,
            (Opened::New { .. } | Opened::Gone, _) if fresh.is_empty() => {}
            (Opened::New { .. } | Opened::Gone, _) => self.create(client, Kept { born: now, ..fresh }),
            (Opened::Existing { at, version, touch, .. }, Fate::Same) if acts.is_empty() => {
                let kept = &mut self.kept[at];
                if touch && kept.lives(now) && kept.version == version {
                    kept.seen = now;
                }
            }
            (Opened::Existing { at, empty, .. }, Fate::Same) => {
                let kept = &mut self.kept[at];
                if kept.lives(now) {
                    let revived = empty || kept.is_empty();
                    replay(&acts, &mut kept.entries, &mut kept.principal);
                    kept.seen = now;
                    kept.version += 1;
                    if kept.is_empty() {
                        self.cookies[client] = None;
                    } else if revived {
                        self.cookies[client] = Some(at);
                    }
                }
            }
            (Opened::Existing { at, .. }, Fate::Renewed) => {
                if self.kept[at].lives(now) {
                    let mut next = self.kept[at].clone();
                    replay(&acts, &mut next.entries, &mut next.principal);
                    self.kept[at].ended = Some(now);
                    self.create(client, Kept { seen: now, version: 0, ..next });
                }
            }
            (Opened::Existing { at, .. }, Fate::Ended) => {
                if self.kept[at].lives(now) {
                    self.kept[at].ended = Some(now);
                }
                if fresh.is_empty() {
                    self.cookies[client] = None;
                } else {
                    self.create(client, fresh);
                }
            }
        }
    }

    fn create(&mut self, client: usize, kept: Kept) {
        self.kept.push(kept);
        self.cookies[client] = Some(self.kept.len() - 1);
    }
}

impl Running {
    fn act(&mut self, act: &Act) {
        let session = &self.real.session;
        match act {
            Act::Insert(name, value) => session.insert(name, *value),
            Act::Remove(name) => {
                let removed: Option<i64> = session.remove(name);
                assert_eq!(removed, self.entries.get(name).copied());
                if removed.is_none() {
                    return;
                }
            }
            Act::Add(name) => {
                let sum = session.update(name, |sum: &mut i64| *sum += 1).unwrap();
                assert_eq!(sum, self.entries.get(name).copied().unwrap_or(0) + 1);
            }
            Act::Clear => {
                session.clear();
                return self.clear();
            }
            Act::Renew => {
                session.renew();
                return self.renew();
            }
            Act::LogIn(user) => {
                session.set_principal(user);
                if self.principal.as_ref() == Some(user) {
                    return;
                }
                if self.principal.is_some() || self.opened == Opened::Gone {
                    self.clear();
                } else {
                    self.renew();
                }
            }
        }
        replay(std::slice::from_ref(act), &mut self.entries, &mut self.principal);
        self.acts.push(act.clone());
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.principal = None;
        self.acts.clear();
        self.fate = Fate::Ended;
    }

    fn renew(&mut self) {
        if self.fate == Fate::Same {
            self.fate = Fate::Renewed;
        }
    }
}

fn replay(acts: &[Act], entries: &mut Entries, principal: &mut Option<String>) {
    for act in acts {
        match act {
            Act::Insert(name, value) => drop(entries.insert(name.clone(), *value)),
            Act::Remove(name) => drop(entries.remove(name)),
            Act::Add(name) => *entries.entry(name.clone()).or_default() += 1,
            Act::LogIn(user) => *principal = Some(user.clone()),
            Act::Clear | Act::Renew => unreachable!("these have a fate, and are not replayed"),
        }
    }
}

fn look(session: &Session) -> Entries {
    session.keys().into_iter().map(|name| (name.clone(), session.get(&name).unwrap())).collect()
}
