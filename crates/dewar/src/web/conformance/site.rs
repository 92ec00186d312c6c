//! The application that the suite visits.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::Error as _};

use super::on_drop;
use crate::{Error, Lifetime, Session, SessionManager};

/// The application that the suite visits: an adapter serves it on every path, behind the layers of its [managers](Site::managers).
#[derive(Clone)]
pub struct Site {
    managers: Arc<[SessionManager]>,
    /// The sessions of handlers that hang, by what they were to set, until their handler is dropped or gone.
    hanging: Arc<Mutex<HashMap<String, Hanging>>>,
}

struct Hanging {
    session: Session,
    is_dropped: bool,
}

/// What a page of the site answers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, by their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// What the framework is to send as a stream.
    pub body: Body,
}

/// A body, piece by piece.
#[derive(Debug)]
pub struct Body {
    text: Option<String>,
    /// A session that the body tries to write to, after its head has left.
    late: Option<Session>,
}

impl Body {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(text) = self.text.take() {
            return Some(text.into());
        }
        let session = self.late.take()?;
        session.insert("late", true);
        let done = session.commit().await;
        Some(if done.is_err_and(|error| error.is_closed()) { "closed" } else { "open" }.into())
    }
}

impl Site {
    pub(super) fn new(managers: Vec<SessionManager>) -> Self {
        Self { managers: managers.into(), hanging: Arc::default() }
    }

    /// The managers whose layers are around the site, the outermost first.
    pub fn managers(&self) -> &[SessionManager] {
        &self.managers
    }

    /// What the page at this path, query included, answers. `session` opens the request's session; it is polled only where the page wants it.
    ///
    /// # Errors
    ///
    /// The session's: the adapter answers as it does to any error of a session.
    ///
    /// # Panics
    ///
    /// Where the page is one that panics: let it be a panic of the handler.
    pub async fn answer(
        &self,
        path: &str,
        session: impl Future<Output = Result<Session, Error>>,
    ) -> Result<Answer, Error> {
        let (page, value) = path.split_once('?').unwrap_or((path, ""));
        if page == "/untouched" {
            return Ok(text("untouched"));
        }
        let session = match session.await {
            Err(error) if page == "/do-without" && error.is_store() => return Ok(text("without a session")),
            session => session?,
        };
        let shown = |session: &Session| session.get::<String>("name").unwrap_or_else(|| "nothing".into());
        Ok(match page {
            "/get" => text(shown(&session)),
            "/set" => after(|| session.insert("name", value)),
            "/count" => text(session.update("count", |count: &mut u32| *count += 1)?.to_string()),
            "/remove" => after(|| {
                session.remove("name");
            }),
            "/clear" => after(|| session.clear()),
            "/renew" => after(|| session.renew()),
            "/log-in" => after(|| session.set_principal(value)),
            "/clear-and-set" => {
                session.clear();
                after(|| session.insert("name", value))
            }
            "/set-and-answer" => {
                session.insert("name", value);
                Answer { status: value.parse().unwrap_or(418), ..text("answered") }
            }
            "/set-beside" => {
                session.insert("name", value);
                Answer { headers: vec![("set-cookie", "theme=dark; Path=/".to_owned())], ..text("done") }
            }
            "/commit-and-fail" => {
                session.insert("name", value);
                session.commit().await?;
                after(|| session.insert("odd", Unwritable))
            }
            "/set-and-wait" => {
                session.insert("name", value);
                lock(&self.hanging).insert(value.to_owned(), Hanging { session, is_dropped: false });
                self.until(|site| !site.hangs(value)).await;
                text("done")
            }
            "/set-and-panic" => {
                session.insert("name", value);
                panic!("a page of the suite panics, as it should");
            }
            "/set-and-hang" => {
                session.insert("name", value);
                self.hang(value, session).await
            }
            "/set-what-cannot-be-written" => after(|| session.insert("odd", Unwritable)),
            "/set-large" => {
                session.insert("small", 1);
                after(|| session.insert("large", "x".repeat(value.parse().unwrap_or(0))))
            }
            "/get-cached" => {
                let headers = vec![("cache-control", "max-age=60".to_owned()), ("vary", "Accept".to_owned())];
                Answer { headers, ..text(shown(&session)) }
            }
            "/remember" => {
                session.insert("name", "remembered");
                let idle = Duration::from_secs(value.parse().unwrap_or(0));
                after(|| session.set_lifetime(Lifetime::persistent().idle(idle)))
            }
            "/set-and-stream" => {
                session.insert("name", value);
                Answer { body: Body { text: Some("streamed, ".into()), late: Some(session) }, ..text("") }
            }
            _ => Answer { status: 404, ..text("no such page") },
        })
    }

    /// Until the handler is dropped.
    async fn hang(&self, value: &str, session: Session) -> Answer {
        let hanging = Arc::clone(&self.hanging);
        let name = value.to_owned();
        lock(&hanging).insert(name.clone(), Hanging { session, is_dropped: false });
        let _dropped = on_drop(move || {
            if let Some(hanging) = lock(&hanging).get_mut(&name) {
                hanging.is_dropped = true;
            }
        });
        pending().await
    }

    /// Waits until this is so.
    pub(super) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets a handler go on that waits.
    pub(super) fn release(&self, value: &str) {
        let waiting = lock(&self.hanging).remove(value);
        drop(waiting);
    }

    /// Whether a handler that was to set this hangs.
    pub(super) fn hangs(&self, value: &str) -> bool {
        lock(&self.hanging).get(value).is_some_and(|hanging| !hanging.is_dropped)
    }

    /// The session of a handler that hung and was dropped.
    pub(super) fn dropped(&self, value: &str) -> Option<Session> {
        let mut hanging = lock(&self.hanging);
        hanging.get(value).filter(|hanging| hanging.is_dropped)?;
        hanging.remove(value).map(|hanging| hanging.session)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(text: impl Into<String>) -> Answer {
    let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
    Answer { status: 200, headers, body: Body { text: Some(text.into()), late: None } }
}

fn after(deed: impl FnOnce()) -> Answer {
    deed();
    text("done")
}

struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("never"))
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("managers", &self.managers).finish_non_exhaustive()
    }
}
