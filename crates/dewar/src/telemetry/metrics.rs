//! What is counted and timed, with the feature `metrics`: the names, labels and units of docs/on-call.md. Without it nothing of this is there.
//!
//! The words of a label are written out where a request passes often: such a key is made once, and costs no allocation.

#[cfg(feature = "metrics")]
use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

#[cfg(feature = "metrics")]
use super::EndReason;
use super::Event;
#[cfg(feature = "metrics")]
use crate::error::Refusal;

/// Adds to a counter.
macro_rules! count {
    ($name:literal, $by:expr $(, $label:literal => $word:literal)*) => {
        #[cfg(feature = "metrics")]
        ::metrics::counter!($name $(, $label => $word)*).increment($by);
        #[cfg(not(feature = "metrics"))]
        let _ = $by;
    };
    ($name:literal, $by:expr, $label:literal => $word:expr) => {
        #[cfg(feature = "metrics")]
        ::metrics::counter!($name, $label => $word).increment($by);
        #[cfg(not(feature = "metrics"))]
        let _ = ($by, $word);
    };
}

/// What a store is asked for. An epoch is read with a `load`, and everybody's sessions are ended with a `revoke`.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Load,
    Create,
    Replace,
    Touch,
    Delete,
    Rename,
    List,
    Revoke,
    Purge,
    Count,
    Ping,
}

/// What a request's cookies led to.
#[derive(Clone, Copy)]
pub(crate) enum Opened {
    /// There was none.
    None,
    Found,
    /// It opened an empty session.
    Refused,
    /// Its session is over, or was never there.
    Gone,
    Failed,
}

/// What a commit came to.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Written,
    Nothing,
    Failed,
}

/// Says what each metric means to whoever records them, and begins each counter at 0: one that is first seen at 1 never rose, as Prometheus sees it,
/// and the first error would be in no alert. Again with each manager: a recorder may be there by then.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    {
        let count = |name: &'static str, what: &'static str| {
            describe_counter!(name, Unit::Count, what);
            counter!(name).increment(0);
        };
        let count_by = |label: &'static str, words: &[&'static str], name: &'static str, what: &'static str| {
            describe_counter!(name, Unit::Count, what);
            for word in words {
                counter!(name, label => *word).increment(0);
            }
        };
        let outcomes = &["none", "found", "refused", "gone", "failed"];
        count_by(
            "outcome",
            outcomes,
            "dewar_opened_total",
            "requests whose session was opened, by what their cookie led to",
        );
        let refusals = Refusal::ALL.map(Refusal::as_str);
        count_by("reason", &refusals, "dewar_refused_total", "cookies that opened an empty session, by reason");
        count("dewar_created_total", "sessions begun");
        count("dewar_authenticated_total", "log-ins saved");
        count("dewar_renewed_total", "sessions that went on under a new id");
        let ends = EndReason::ALL.map(EndReason::as_str);
        count_by("reason", &ends, "dewar_ended_total", "sessions ended, by reason");
        let operations =
            &["load", "create", "replace", "touch", "delete", "rename", "list", "revoke", "purge", "count", "ping"];
        count_by("operation", operations, "dewar_store_errors_total", "calls of the store that failed, by operation");
        count("dewar_failed_commits_total", "responses whose session could not be saved");
        count("dewar_conflicts_total", "attempts to write that were made again");
        count("dewar_discarded_total", "requests whose changes were dropped: their session had ended");
        count("dewar_repeatable_total", "requests that met a log-in or an expiry, and may be repeated");
        count("dewar_refused_log_ins_total", "log-ins refused: their user has as many sessions as may be");
        count("dewar_overwritten_total", "entries changed by another request between get and insert");
        count("dewar_late_writes_total", "writes to a session whose response had gone");
        count("dewar_late_opens_total", "sessions asked for after the response had gone");
        count("dewar_late_commits_total", "commits after the response had gone");
        let seconds = |name: &'static str, what: &'static str| describe_histogram!(name, Unit::Seconds, what);
        seconds("dewar_commit_seconds", "time to save a session, by outcome");
        seconds("dewar_store_seconds", "time of each call of the store, by operation and outcome");
        describe_histogram!(
            "dewar_commit_round_trips",
            Unit::Count,
            "calls of the store in one commit that had something to do"
        );
        describe_histogram!("dewar_cookie_bytes", Unit::Bytes, "name and value of each session cookie that was set");
        describe_gauge!("dewar_active_sessions", Unit::Count, "sessions alive when they were last counted");
    }
}

/// Counts what a session was opened as, and returns the word for it.
pub(crate) fn opened(outcome: Opened) -> &'static str {
    macro_rules! count_as {
        ($($outcome:ident $word:literal)*) => {
            match outcome { $(Opened::$outcome => {
                count!("dewar_opened_total", 1, "outcome" => $word);
                $word
            })* }
        };
    }
    count_as!(None "none" Found "found" Refused "refused" Gone "gone" Failed "failed")
}

/// Measures a commit that has ended, and returns the word for what it came to.
pub(crate) fn committed(outcome: Outcome, seconds: Option<f64>, calls: u32) -> &'static str {
    macro_rules! measure_as {
        ($($outcome:ident $word:literal)*) => {
            match outcome { $(Outcome::$outcome => {
                #[cfg(feature = "metrics")]
                if let Some(seconds) = seconds {
                    histogram!("dewar_commit_seconds", "outcome" => $word).record(seconds);
                }
                $word
            })* }
        };
    }
    #[cfg(feature = "metrics")]
    if !matches!(outcome, Outcome::Nothing) {
        histogram!("dewar_commit_round_trips").record(f64::from(calls));
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (seconds, calls);
    measure_as!(Written "written" Nothing "nothing" Failed "failed")
}

/// Measures a call of the store that was answered.
pub(super) fn answered(operation: Operation, seconds: Option<f64>, is_ok: bool) {
    macro_rules! measure {
        ($($operation:ident $word:literal)*) => {
            match (operation, is_ok) { $(
                (Operation::$operation, true) => {
                    #[cfg(feature = "metrics")]
                    if let Some(seconds) = seconds {
                        histogram!("dewar_store_seconds", "operation" => $word, "outcome" => "ok").record(seconds);
                    }
                }
                (Operation::$operation, false) => {
                    #[cfg(feature = "metrics")]
                    if let Some(seconds) = seconds {
                        histogram!("dewar_store_seconds", "operation" => $word, "outcome" => "error").record(seconds);
                    }
                    count!("dewar_store_errors_total", 1, "operation" => $word);
                }
            )* }
        };
    }
    #[cfg(not(feature = "metrics"))]
    let _ = seconds;
    measure!(
        Load "load" Create "create" Replace "replace" Touch "touch" Delete "delete" Rename "rename" List "list"
        Revoke "revoke" Purge "purge" Count "count" Ping "ping"
    );
}

/// Counts what became of sessions. [`Listeners::tell`](super::Listeners::tell) alone calls it, so that counts and events agree.
pub(super) fn happened(event: &Event) {
    match event {
        Event::Created => {
            count!("dewar_created_total", 1);
        }
        Event::Authenticated => {
            count!("dewar_authenticated_total", 1);
        }
        Event::Renewed => {
            count!("dewar_renewed_total", 1);
        }
        Event::Ended { reason, sessions } => {
            count!("dewar_ended_total", *sessions, "reason" => reason.as_str());
        }
        Event::Refused { reason } => {
            count!("dewar_refused_total", 1, "reason" => reason.as_str());
        }
    }
}

/// Notes how many sessions there are.
pub(crate) fn active(sessions: u64) {
    #[cfg(feature = "metrics")]
    gauge!("dewar_active_sessions").set(sessions as f64);
    #[cfg(not(feature = "metrics"))]
    let _ = sessions;
}

/// Notes how large the cookies are that a response sets: without `=`, as browsers measure them.
#[cfg_attr(not(feature = "metrics"), allow(unused_variables))]
pub(crate) fn cookies_set(cookies: &[http::HeaderValue]) {
    #[cfg(feature = "metrics")]
    {
        let pairs = cookies.iter().map(|cookie| {
            let cookie = cookie.as_bytes();
            memchr::memchr(b';', cookie).map_or(cookie, |end| &cookie[..end])
        });
        // Of those that are removed the first is empty.
        if pairs.clone().next().is_none_or(|first| first.ends_with(b"=")) {
            return;
        }
        pairs.for_each(|pair| histogram!("dewar_cookie_bytes").record(pair.len().saturating_sub(1) as f64));
    }
}

pub(super) use count;
