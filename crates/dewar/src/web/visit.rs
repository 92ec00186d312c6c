//! What a request has of its session on its way through an application, the same for every adapter.

use std::{
    mem,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderValue, StatusCode, uri::Authority};

use super::setup::Means;
use crate::{
    error::{Error, Kind},
    manager::SessionManager,
    secret,
    session::Session,
    telemetry,
};

/// What a request has of its session: its cookies, and the session while it is open.
pub(super) struct Visit {
    means: Arc<Means>,
    /// The cookies it came with. Its extensions may have been copied to a request of another visitor.
    cookies: Cookies,
    /// The visit of a layer further out, of another cookie.
    outer: Option<Handle>,
    stage: Mutex<Stage>,
}

/// The `Cookie` headers of a request. There is one, as a rule.
#[derive(PartialEq, Eq)]
pub(super) struct Cookies {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

impl FromIterator<HeaderValue> for Cookies {
    fn from_iter<I: IntoIterator<Item = HeaderValue>>(values: I) -> Self {
        let mut values = values.into_iter();
        Self { first: values.next(), others: values.collect() }
    }
}

/// How far a request has come. One lock decides between a session that is being opened and a head that leaves.
enum Stage {
    Unopened,
    /// It is being opened, or whoever asked gave up.
    Asked,
    /// The store did not answer. Whoever asks again asks it again.
    Unreached,
    Open(Session),
    /// The head has gone, or will never come: nothing is opened any more.
    Over,
}

impl Visit {
    pub(super) fn manager(&self) -> &SessionManager {
        &self.means.manager
    }

    /// # Errors
    ///
    /// Where the store failed, and where the response's head has gone, also while the store was asked.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        match &mut *self.stage() {
            Stage::Open(session) => return Ok(session.clone()),
            Stage::Over => return Err(opened_too_late()),
            Stage::Asked | Stage::Unreached => {}
            stage @ Stage::Unopened => *stage = Stage::Asked,
        }
        let opened = match &self.cookies {
            Cookies { first: Some(first), others } if others.is_empty() => {
                self.manager().open(&[first.as_bytes()][..]).await
            }
            Cookies { first, others } => {
                let values: Vec<&[u8]> = first.iter().chain(others).map(HeaderValue::as_bytes).collect();
                self.manager().open(&values[..]).await
            }
        };
        let mut stage = self.stage();
        match (&*stage, opened) {
            // Where two tasks of one request open it at once, both get the one that came first.
            (Stage::Open(session), _) => Ok(session.clone()),
            (Stage::Over, _) => Err(opened_too_late()),
            (before, Ok(opened)) => {
                // Somebody did without, and the response may show it.
                if matches!(before, Stage::Unreached) {
                    opened.lock().accessed = true;
                }
                *stage = Stage::Open(opened.clone());
                Ok(opened)
            }
            (_, Err(error)) => {
                *stage = Stage::Unreached;
                Err(error)
            }
        }
    }

    /// The head leaves: from here on nothing is opened.
    fn leave(&self) -> Stage {
        mem::replace(&mut *self.stage(), Stage::Over)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Nothing that can panic runs while the lock is held, so a poisoned stage is a whole one.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opened_too_late() -> Error {
    telemetry::opened_too_late();
    Error::new(
        Kind::Closed,
        "the session was opened after its response had gone: take it before the response is returned, and commit what a stream or task writes",
    )
}

/// A request on its way. Dropped before its head has left (a time-out, a client that hung up, a panic), it closes the session:
/// whatever survives must not write on.
pub(super) struct Underway(Arc<Visit>);

/// What a request had of its session when its head left.
pub(super) enum Left {
    /// Nothing: the response does not depend on it.
    Untouched,
    /// It was asked for and not reached, and the response shows it.
    Unreached,
    /// To be committed.
    Opened(Arc<Visit>, Session),
}

impl Underway {
    /// The head leaves.
    pub(super) fn leave(self) -> Left {
        match self.0.leave() {
            Stage::Open(session) => Left::Opened(Arc::clone(&self.0), session),
            Stage::Asked | Stage::Unreached => Left::Unreached,
            Stage::Unopened | Stage::Over => Left::Untouched,
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Stage::Open(session) = self.0.leave() {
            session.close();
        }
    }
}

/// What a request carries in its extensions.
#[derive(Clone)]
pub(super) struct Handle {
    visit: Arc<Visit>,
    /// Of the innermost layer, whose pages count.
    #[cfg(feature = "templates")]
    means: Arc<Means>,
}

/// How a request comes through a layer.
pub(super) enum Entered {
    /// With a session of this layer's.
    Anew(Handle, Underway),
    /// With the session of a layer around this one, which commits it.
    Within(Handle),
    /// Not at all: it is answered with this.
    Refused(Error),
}

impl Handle {
    /// Takes a request in, with what it carried from the layers around, its cookies, and the hosts that it names.
    pub(super) fn enter(
        means: &Arc<Means>,
        outer: Option<&Self>,
        cookies: Cookies,
        hosts: impl FnOnce() -> Vec<String>,
    ) -> Entered {
        if means.has_example_secret
            && let Some(host) = hosts().into_iter().find(|host| !is_this_machine(host))
        {
            let error = secret::example_refused(&host);
            telemetry::answered(&error);
            return Entered::Refused(error);
        }
        let manager = &means.manager;
        let same = outer.and_then(|outer| outer.find(manager.cookie_name()));
        let handle = |visit: Arc<Visit>| Self {
            visit,
            #[cfg(feature = "templates")]
            means: Arc::clone(means),
        };
        // Extensions that were copied to a request with other cookies are another visitor's.
        match same.filter(|visit| visit.cookies == cookies) {
            Some(visit) if !visit.manager().agrees_with(manager) => {
                telemetry::layers_disagree(manager.cookie_name());
                // Why was said to the log.
                Entered::Refused(Error::setting("two layers of one cookie name disagree"))
            }
            Some(visit) => Entered::Within(handle(Arc::clone(visit))),
            None => {
                let stage = Mutex::new(Stage::Unopened);
                let visit = Arc::new(Visit { means: Arc::clone(means), cookies, outer: outer.cloned(), stage });
                Entered::Anew(handle(Arc::clone(&visit)), Underway(visit))
            }
        }
    }

    /// The visit of the layer around this one that has this cookie.
    fn find(&self, cookie_name: &str) -> Option<&Arc<Visit>> {
        let mut handle = Some(self);
        while let Some(found) = handle {
            if found.visit.manager().cookie_name() == cookie_name {
                return Some(&found.visit);
            }
            handle = found.visit.outer.as_ref();
        }
        None
    }

    pub(super) fn visit(&self) -> &Arc<Visit> {
        &self.visit
    }

    /// # Errors
    ///
    /// Where the layer was given no pages.
    #[cfg(feature = "templates")]
    pub(super) fn templates(&self) -> Result<crate::template::Engine, Error> {
        self.means.templates.clone().ok_or_else(|| {
            let line = "there are no templates: add `.templates(\"templates\")` to the layer of sessions";
            Error::new(Kind::MissingLayer, line)
        })
    }
}

/// The hosts that a request names: in its headers, and in those of a proxy. A net for mistakes, not a defence: whoever comes without a proxy writes them.
pub(super) fn hosts<'a>(header: impl Fn(&'static str) -> Vec<&'a [u8]>) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let mut hosts: Vec<String> = header("host").into_iter().map(text).collect();
    for value in header("x-forwarded-host") {
        hosts.extend(text(value).split(',').map(|host| host.trim().to_owned()));
    }
    for value in header("forwarded") {
        let value = text(value).to_ascii_lowercase();
        let named = value.split([',', ';']).filter_map(|pair| pair.trim().strip_prefix("host="));
        hosts.extend(named.map(|host| host.trim_matches('"').to_owned()));
    }
    hosts
}

/// Whether a host, with its port, is a name of the machine that it is asked on.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    !host.contains('@') && (is_local || address.is_ok_and(|address| address.is_loopback()))
}

/// A response is interim that promises another one: what carries a session must not be.
pub(super) fn interim(status: StatusCode) -> Option<Error> {
    let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    is_interim.then(|| {
        Error::new(
            Kind::Setting,
            format!("the handler answered {status}, which is no answer to a request but comes before one; answer with another status"),
        )
    })
}

/// Whether an error takes the place of this response. A layer further in made one of a panic already.
pub(super) fn replaces(error: &Error, is_server_error: bool) -> bool {
    !(error.is_panic() && is_server_error)
}
