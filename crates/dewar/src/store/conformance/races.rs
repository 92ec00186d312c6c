//! What racing callers may rely on: no write is lost, no deleted record comes back.

use tokio::task::{JoinSet, yield_now};

use super::*;

const TASKS: u32 = 16;
const WRITES: u32 = 20;
const ROUNDS: usize = 20;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    no_write_is_lost(Case::new(make).await).await;
    one_of_many_creates_wins(Case::new(make).await).await;
    one_of_many_replaces_wins(Case::new(make).await).await;
    one_of_many_deletes_wins(Case::new(make).await).await;
    a_replace_and_a_delete_of_one_version_cannot_both_win(Case::new(make).await).await;
    one_of_many_renames_wins(Case::new(make).await).await;
    a_rename_and_a_delete_cannot_both_win(Case::new(make).await).await;
    a_touch_cannot_undo_a_replace(Case::new(make).await).await;
    no_replace_resurrects_a_deleted_record(Case::new(make).await).await;
}

async fn all<T: Send + 'static>(tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    tasks.into_iter().collect::<JoinSet<T>>().join_all().await
}

/// Adds one to the task's own number until a replace succeeds; `false`: the record is no more.
async fn add_one<S: SessionStore>(case: &Case<S>, task: u32) -> bool {
    loop {
        let Load::Found(mut record, version) = case.load().await else { return false };
        let mut data = record.data.to_vec();
        data[task as usize] += 1;
        record.data = data.into();
        match case.replace(version, record).await {
            Replace::Replaced(_) => return true,
            Replace::Gone(_) => return false,
            Replace::Conflict => yield_now().await,
        }
    }
}

async fn no_write_is_lost<S: SessionStore>(case: Case<S>) {
    case.created(Record { data: vec![0; TASKS as usize].into(), ..case.record(b"") }).await;
    let tasks = (0..TASKS).map(|task| {
        let case = case.clone();
        async move {
            for _ in 0..WRITES {
                assert!(add_one(&case, task).await, "broken promise: a record stays until it expires or is deleted");
            }
        }
    });
    all(tasks).await;
    let sentence = "no write that replace confirmed is lost, however many race";
    let (record, _) = case.found(sentence).await;
    promise(sentence, record.data.to_vec(), vec![WRITES as u8; TASKS as usize]);
}

async fn one_of_many_creates_wins<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        let tasks = (0..TASKS).map(|_| {
            let case = case.clone();
            async move { matches!(case.create(case.record(b"x")).await, Create::Created(_)) }
        });
        let winners = all(tasks).await.into_iter().filter(|won| *won).count();
        promise("of creates that race for one key, one wins", winners, 1);
    }
}

async fn one_of_many_replaces_wins<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        let version = case.created(case.record(b"x")).await;
        let tasks = (0..TASKS).map(|task| {
            let case = case.clone();
            let record = Record { data: vec![task as u8].into(), ..case.record(b"") };
            async move { (case.replace(version, record).await, task) }
        });
        let outcomes = all(tasks).await;
        let winners: Vec<_> = outcomes.iter().filter(|(outcome, _)| *outcome != Replace::Conflict).collect();
        let sentence = "of replaces that race for one version, one wins, and the others conflict";
        promise(sentence, winners.len(), 1);
        let (record, version) = case.found(sentence).await;
        let (outcome, task) = winners[0];
        promise(sentence, (outcome, record.data.to_vec()), (&Replace::Replaced(version), vec![*task as u8]));
    }
}

async fn one_of_many_deletes_wins<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        case.created(case.record(b"x")).await;
        let tasks = (0..TASKS).map(|_| {
            let case = case.clone();
            async move { case.delete(None).await }
        });
        let outcomes = all(tasks).await;
        let winners = outcomes.iter().filter(|outcome| **outcome == Delete::Deleted).count();
        promise("of deletes that race, one removes the record, and the others find it gone", winners, 1);
        promise("after deletes that raced, the record is Gone", case.load().await, Load::Gone(case.ended()));
    }
}

async fn a_replace_and_a_delete_of_one_version_cannot_both_win<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        let version = case.created(case.record(b"x")).await;
        let (replacing, deleting) = (case.clone(), case.clone());
        let replacing = tokio::spawn(async move { replacing.replace(version, replacing.record(b"y")).await });
        let deleting = tokio::spawn(async move { deleting.delete(Some(version)).await });
        let (replaced, deleted) = (joined(replacing.await), joined(deleting.await));
        let sentence = "of a replace and a delete that race for one version, one wins";
        match (replaced, deleted) {
            (Replace::Replaced(version), Delete::Conflict) => {
                promise(sentence, case.load().await, Load::Found(case.record(b"y"), version));
            }
            (Replace::Gone(Some(dead)), Delete::Deleted) if dead == case.ended() => {
                promise(sentence, case.load().await, Load::Gone(dead));
            }
            other => panic!("broken promise: {sentence}\n    actual: {other:?}"),
        }
    }
}

async fn one_of_many_renames_wins<S: SessionStore>(case: Case<S>) {
    for round in 0..ROUNDS {
        let case = case.another();
        let version = case.created(case.record(b"x")).await;
        let at = round.is_multiple_of(2).then_some(version);
        let tasks = (0..TASKS).map(|_| {
            let (case, to) = (case.clone(), case.another());
            async move { (case.rename(at, &to, case.record(b"y")).await, to) }
        });
        let sentence = "of renames that race for one record, one wins, and the others find its tombstone";
        let mut winners = 0;
        for (outcome, to) in all(tasks).await {
            match outcome {
                Rename::Renamed(written) => {
                    winners += 1;
                    promise(sentence, to.load().await, Load::Found(case.record(b"y"), written.version));
                }
                outcome => {
                    promise(sentence, outcome, Rename::Gone(Some(case.ended())));
                    promise(sentence, to.load().await, Load::Missing);
                }
            }
        }
        promise(sentence, winners, 1);
        promise(sentence, case.load().await, Load::Gone(case.ended()));
    }
}

async fn a_rename_and_a_delete_cannot_both_win<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        case.created(case.record(b"x")).await;
        let (renaming, deleting, to) = (case.clone(), case.clone(), case.another());
        let target = to.clone();
        let renaming = tokio::spawn(async move { renaming.rename(None, &target, renaming.record(b"y")).await });
        let deleting = tokio::spawn(async move { deleting.delete(None).await });
        let (renamed, deleted) = (joined(renaming.await), joined(deleting.await));
        let sentence = "of a rename and a delete that race for one record, one wins";
        match (renamed, deleted) {
            (Rename::Renamed(written), Delete::Gone(Some(_))) => {
                promise(sentence, to.load().await, Load::Found(case.record(b"y"), written.version));
            }
            (Rename::Gone(Some(_)), Delete::Deleted) => promise(sentence, to.load().await, Load::Missing),
            other => panic!("broken promise: {sentence}\n    actual: {other:?}"),
        }
        promise(sentence, case.load().await, Load::Gone(case.ended()));
    }
}

async fn a_touch_cannot_undo_a_replace<S: SessionStore>(case: Case<S>) {
    for _ in 0..ROUNDS {
        let case = case.another();
        let version = case.created(case.record(b"x")).await;
        let (replacing, touching) = (case.clone(), case.clone());
        let touching = tokio::spawn(async move { touching.touch(version, touching.now.after(9 * HOUR)).await });
        let replacing = tokio::spawn(async move { replacing.replaced(version, replacing.record(b"y")).await });
        let (touched, version) = (joined(touching.await), joined(replacing.await));
        let sentence = "a touch that races a replace comes before it or is refused";
        assert!(!matches!(touched, Touch::Gone(_)), "broken promise: {sentence}");
        promise(sentence, case.load().await, Load::Found(case.record(b"y"), version));
    }
}

async fn no_replace_resurrects_a_deleted_record<S: SessionStore>(case: Case<S>) {
    for round in 0..ROUNDS {
        let case = case.another();
        case.created(Record { data: vec![0; 4].into(), ..case.record(b"") }).await;
        let writers = (0..4).map(|task| {
            let case = case.clone();
            async move {
                let mut writes = 0;
                while writes < 200 && add_one(&case, task).await {
                    writes += 1;
                    yield_now().await;
                }
            }
        });
        let writers: JoinSet<()> = writers.collect();
        for _ in 0..round {
            yield_now().await;
        }
        promise("delete without a version removes any", case.delete(None).await, Delete::Deleted);
        let sentence = "no replace brings a deleted record back to life";
        promise(sentence, case.load().await, Load::Gone(case.ended()));
        writers.join_all().await;
        promise(sentence, case.load().await, Load::Gone(case.ended()));
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
