//! Pages of two applications that write one session at once, counted.

use std::{
    fmt::Display,
    sync::{Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use dewar::Value;

use crate::{http::Visitor, suite::note};

/// Counts what races with a framework's pages lose, which it has no lock for: it writes what it has read long before, so it loses ours and its own. Two
/// applications of ours in its place lose nothing.
pub(crate) fn count(
    site: impl Display,
    framework: &str,
    [theirs, ours, second]: [&str; 3],
    rounds: u32,
    entries: impl Fn(&mut Visitor, &str) -> Value,
) {
    let begins_at = |url| {
        let mut visitor = Visitor::new();
        assert!(visitor.post(&format!("{url}/_test/set"), r#"{"first": 0}"#).status < 300, "{site}");
        visitor
    };
    let [of_theirs, of_ours] = lost(&mut begins_at(theirs), [theirs, ours], rounds, &entries);
    let writes = 2 * rounds;
    note(&format!(
        "{site}: {framework}'s pages overwrote {of_ours} of {writes} writes of ours, and {of_theirs} of {writes} of its own"
    ));
    let among_ours = lost(&mut begins_at(ours), [second, ours], rounds, &entries);
    assert_eq!(among_ours, [0, 0], "{site}: two of ours lose nothing to each other");
}

/// Two pages of each write an entry of their own to one session, at once, so many times. Of whose writes how many are not there afterwards: theirs, ours.
///
/// Our pages are fast: they begin at another moment of the others' time in each round, so that they write before, within and after it. `visitor` has a session. `entries` is what an application reads of it.
fn lost(
    visitor: &mut Visitor,
    [theirs, ours]: [&str; 2],
    rounds: u32,
    entries: impl Fn(&mut Visitor, &str) -> Value,
) -> [usize; 2] {
    let pages = [("t1", theirs), ("t2", theirs), ("o1", ours), ("o2", ours)];
    let (mut lost, mut theirs_take) = ([0; 2], Duration::ZERO);
    let began = Instant::now();
    for round in 1..=rounds {
        let start = Barrier::new(pages.len());
        let waits = |name: &str| match name {
            "o1" => theirs_take * (round % 10) / 10,
            "o2" => theirs_take * (round % 7) / 7,
            _ => Duration::ZERO,
        };
        let answered = Mutex::new(Duration::ZERO);
        thread::scope(|scope| {
            for (name, url) in pages {
                let (mut visitor, start, answered, wait) = (visitor.clone(), &start, &answered, waits(name));
                scope.spawn(move || {
                    start.wait();
                    thread::sleep(wait);
                    let asked = Instant::now();
                    let answer = visitor.post(&format!("{url}/_test/add"), &format!(r#"{{"{name}": {round}}}"#));
                    assert_eq!(answer.status, 204, "{url}: {}", answer.body);
                    if url == theirs {
                        let mut slowest = answered.lock().unwrap_or_else(PoisonError::into_inner);
                        *slowest = asked.elapsed().max(*slowest);
                    }
                });
            }
        });
        theirs_take = answered.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seen = entries(visitor, ours);
        assert_eq!(seen, entries(visitor, theirs));
        let expected = Value::Integer(round.into());
        for (name, url) in pages {
            lost[usize::from(url == ours)] += usize::from(seen.get(name) != Some(&expected));
        }
    }
    note(&format!("{rounds} rounds of four pages at once in {:.1} s", began.elapsed().as_secs_f32()));
    lost
}
