//! What is worth a line in the log, and (with the feature `metrics`) a count. Never a value, never an id.

use std::time::Duration;

use crate::{
    error::{Error, Refusal, StoreError},
    explain::Report,
    layout::Kept,
};

mod event;
mod metrics;
mod watch;

use metrics::count;

pub use event::{EndReason, Event};
pub(crate) use event::{Listener, Listeners};
pub(crate) use metrics::{Opened, Operation, Outcome, active, cookies_set, describe, opened};
pub(crate) use watch::{Call, Watch};

/// A cookie opened an empty session.
pub(crate) fn refused(cookie: &str, refusal: Refusal) {
    tracing::debug!(cookie, reason = refusal.as_str(), "a session cookie was refused; the session is empty");
}

/// A record of another framework opened an empty session, for a reason that somebody has to do something about.
pub(crate) fn record_refused(refusal: Refusal, report: impl FnOnce() -> Report<Kept>) {
    if refusal == Refusal::Unsupported {
        tracing::warn!(
            reason = refusal.as_str(),
            "a record cannot be read; the session is empty, and the record stays\n{}",
            report()
        );
    } else {
        tracing::debug!(
            reason = refusal.as_str(),
            "a record cannot be read; the session is empty, and the record stays\n{}",
            report()
        );
    }
}

/// There is no record under an id of another framework's. The names of records are ids, but for what stands before them.
pub(crate) fn no_record(layout: &dyn crate::layout::Layout) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let prefix = layout.name("");
        tracing::debug!(
            prefix,
            "the store has no record under this session's id; records are looked for under this prefix and the id"
        );
    }
}

/// A copy of a record could not be removed.
pub(crate) fn copy_stays(error: &StoreError) {
    tracing::warn!(
        %error,
        "the framework's copy of a session in its cache could not be removed, and its pages show the session of before; it is tried again"
    );
}

/// A value that a request had read was changed by another before this one wrote it.
pub(crate) fn overwritten(name: &[u8]) {
    let entry = String::from_utf8_lossy(name);
    tracing::warn!(%entry, "another request changed this entry between get and insert, and its value is lost: use update");
    count!("dewar_overwritten_total", 1);
}

/// A write came after the response's head had gone.
pub(crate) fn written_too_late(what: &str, name: &str) {
    tracing::error!(
        what,
        entry = name,
        "the session was written to after its response had gone; the change is lost: call session.commit() before the response, or change it later with SessionManager::edit"
    );
    count!("dewar_late_writes_total", 1);
}

/// A stream or task of a request asked for the session after its head had gone.
#[cfg(feature = "web")]
pub(crate) fn opened_too_late() {
    tracing::error!("the session was asked for after its response had gone; it is not opened");
    count!("dewar_late_opens_total", 1);
}

/// A stream or task of a request committed the session after its head had gone, or would never come.
pub(crate) fn committed_too_late() {
    tracing::error!("the session was committed after its response had gone; nothing was saved");
    count!("dewar_late_commits_total", 1);
}

/// A request went through two layers with the same cookie and other settings.
#[cfg(feature = "web")]
pub(crate) fn layers_disagree(cookie: &str) {
    tracing::error!(
        cookie,
        "two session layers around this route have this cookie name and different settings: put a clone of one layer in both places, \
         or give one of them another name with .cookie_name(\"...\")"
    );
}

/// An entry holds a value of another type than was asked for.
pub(crate) fn wrong_type(error: &Error) {
    tracing::warn!(%error, "the entry was taken for absent");
}

/// A page asked for the user as if it were an entry, and there is none of that name.
#[cfg(feature = "templates")]
pub(crate) fn principal_is_no_entry() {
    tracing::warn!(
        "a page asked for the entry `principal`, and there is none: the user is `session.principal()`, with parentheses"
    );
}

/// Whether a session has ended could not be asked; it is asked again.
pub(crate) fn not_known_to_have_ended(error: &StoreError) {
    tracing::debug!(%error, "whether a session has ended that somebody waits for is not known");
}

/// A user has as many sessions as may be.
pub(crate) fn log_in_refused() {
    tracing::info!("a log-in was refused: its user has as many sessions as max_sessions_per_user allows");
    count!("dewar_refused_log_ins_total", 1);
}

/// The commit of a response did not succeed.
pub(crate) fn failed(error: &Error) {
    // Told already, and nobody's fault.
    if error.is_too_many_sessions() {
        return;
    }
    if error.log_once() {
        tracing::error!(%error, "the session could not be saved");
    } else {
        tracing::debug!(%error, "the session could not be saved, as was logged before");
    }
    count!("dewar_failed_commits_total", 1);
}

/// The expiry of a session that was only read could not be moved; the next request tries again.
pub(crate) fn not_touched(error: &Error) {
    tracing::warn!(%error, "the expiry of a session could not be moved: it ends earlier, unless a later request moves it");
}

/// The changes of a request were discarded, because its session ended meanwhile.
pub(crate) fn discarded() {
    tracing::debug!("the session ended while this request ran; its changes are discarded");
    count!("dewar_discarded_total", 1);
}

/// A request met a session that another had renewed by a log-in, or that had expired meanwhile.
pub(crate) fn met_another() {
    tracing::debug!("the session was renewed by a log-in, or expired, while this request ran; it may be repeated");
    count!("dewar_repeatable_total", 1);
}

/// The cookie comes near the size that browsers keep.
pub(crate) fn nearly_too_large(bytes: usize, largest: &str) {
    tracing::warn!(bytes, limit = crate::cookie::LIMIT, largest, "the session nearly fills its cookie");
}

/// A racing commit made this one start again.
pub(crate) fn conflicted(wait: Duration) {
    tracing::trace!(?wait, "another process committed to this session first; replaying");
    count!("dewar_conflicts_total", 1);
}

/// The store could not be reached, and the route goes on without a session.
#[cfg(feature = "axum")]
pub(crate) fn unavailable(error: &Error) {
    tracing::error!(%error, "no session: the store failed");
}

/// An error was answered to the visitor.
#[cfg(feature = "web")]
pub(crate) fn answered(error: &Error) {
    if !error.is_too_many_sessions() && error.log_once() {
        tracing::error!(%error, status = error.status().as_u16(), "a request failed");
    }
}

/// Expired records could not be removed; it is tried again.
pub(crate) fn not_purged(error: &Error) {
    tracing::warn!(%error, "expired sessions could not be removed; they do no harm");
}

/// A file of a database is not the one any more that was opened.
#[cfg(feature = "sqlite")]
pub(crate) fn file_lost(file: &std::path::Path) {
    tracing::error!(
        file = %file.display(),
        "this file was deleted, moved or replaced while sessions were kept in it: what was in it is not seen any more, and the database at the path is opened anew"
    );
}

/// What was committed of late could not be copied from the log into the database that was lost.
#[cfg(feature = "sqlite")]
pub(crate) fn log_not_copied(file: &std::path::Path) {
    tracing::error!(file = %file.display(), "what was written of late could not be copied from the write-ahead log into the database");
}

/// Beside a file that is missing stood a log with what was committed of late.
#[cfg(feature = "sqlite")]
pub(crate) fn log_set_aside(log: &std::path::Path, aside: &std::path::Path) {
    tracing::warn!(
        log = %log.display(),
        aside = %aside.display(),
        "the database of this write-ahead log is missing, and a new one begins: the log is kept under another name. If the database was moved, and nothing has opened it since, move the log beside it, named as the database with -wal behind it"
    );
}

/// A record that stands under a name of ours could not be read.
#[cfg(feature = "redis")]
pub(crate) fn unlisted(error: &crate::store::StoreError, key: &crate::store::StoreKey) {
    tracing::warn!(%error, %key, "a session is in no list");
}

/// A thread could not be started for what has to go on; whoever waits for it is told.
pub(crate) fn no_thread(error: &std::io::Error) {
    tracing::error!(%error, "no thread could be started for a session's task");
}

/// The record that a session was moved from could not be ended.
pub(crate) fn not_ended_at_its_source(error: &Error) {
    tracing::warn!(%error, "a session has moved, and its record at the source could not be ended; it leads to the session that moved");
}

/// The end of a source has come, and its sessions are not opened any more.
pub(crate) fn source_is_over(cookie: &str) {
    tracing::warn!(cookie, "reads_also: its date has passed, and its sessions are not opened any more; leave it out");
}

/// A secret that `startproject` of Django's made is in use.
#[cfg(feature = "django")]
pub(crate) fn made_by_startproject() {
    tracing::warn!(
        "the secret begins with django-insecure-: startproject made it, and whoever has read the repository can log in as anybody; \
         where this is public, make another one"
    );
}

/// The end of a former domain has come, and its cookies are not removed any more.
pub(crate) fn former_domain_is_over(cookie: &str) {
    tracing::warn!(
        cookie,
        "former_domain: its date has passed, and cookies of that domain are not removed any more; leave it out"
    );
}
