//! Whoever waits for the end of a session learns of it, from whatever server it was ended.

use std::{future::Future, time::Duration};

use dewar::{Ended, Lifetime, SessionManager, store::SessionAdmin, testing::Visitor};

use super::{
    http::secret,
    site::{Request, visit},
};

/// How long the end of a session may take to be known: "within a second".
const SOON: Duration = Duration::from_secs(1);

/// Two servers on one store.
pub struct Servers {
    pub here: SessionManager,
    pub there: SessionManager,
}

impl Servers {
    pub fn on(here: impl SessionAdmin, there: impl SessionAdmin) -> Self {
        Self { here: server(here), there: server(there) }
    }

    /// Somebody who logged in here, and what waits here for the end of the session.
    async fn logged_in(&self, user: &str) -> (Visitor, Ended) {
        let visitor = Visitor::with_principal(&self.here, user).await;
        let ended = self.waits(&visitor).await;
        (visitor, ended)
    }

    async fn waits(&self, visitor: &Visitor) -> Ended {
        Request::begin(visitor, &self.here).await.session.ended()
    }
}

fn server(store: impl SessionAdmin) -> SessionManager {
    let builder = SessionManager::builder(secret()).unwrap().store(store);
    builder.lifetime(Lifetime::browser().idle(Duration::from_secs(3600))).build().unwrap()
}

trait Prepared {
    async fn with_principal(manager: &SessionManager, user: &str) -> Visitor;
}

impl Prepared for Visitor {
    async fn with_principal(manager: &SessionManager, user: &str) -> Visitor {
        let prepared = Self::prepared(manager, |session| {
            session.insert("n", 1);
            session.set_principal(user);
        });
        prepared.await.unwrap()
    }
}

async fn soon(what: &str, ended: impl Future<Output = ()>) {
    let waited = tokio::time::timeout(SOON, ended).await;
    assert!(waited.is_ok(), "{what}: not known within {SOON:?}");
}

async fn not_yet(what: &str, ended: &mut Ended) {
    let waited = tokio::time::timeout(SOON, ended).await;
    assert!(waited.is_err(), "{what}: it counts as ended");
}

/// Every way to end a session from another server. `user` begins the names of users that nobody else has.
pub async fn all(servers: Servers, user: &str) {
    let name = |which: &str| format!("{user}-{which}");
    let Servers { here, there } = &servers;

    let (mut visitor, ended) = servers.logged_in(&name("clears")).await;
    visit(&mut visitor, there, |session| session.clear()).await;
    soon("a log-out", ended).await;

    let (_, ended) = servers.logged_in(&name("one")).await;
    let devices = there.sessions_of(&name("one")).await.unwrap();
    assert!(there.revoke(&name("one"), &devices[0].handle).await.unwrap());
    soon("the end of one device", ended).await;

    let (_, first) = servers.logged_in(&name("all")).await;
    let (_, second) = servers.logged_in(&name("all")).await;
    assert_eq!(there.revoke_all(&name("all")).await.unwrap(), 2);
    soon("the end of all devices", first).await;
    soon("the end of all devices", second).await;

    let (mut visitor, mut ended) = servers.logged_in(&name("renews")).await;
    for _ in 0..3 {
        visit(&mut visitor, there, dewar::Session::renew).await;
    }
    visit(&mut visitor, there, |session| session.set_principal(name("renews"))).await;
    not_yet("a renewal, and the same user's log-in", &mut ended).await;
    visit(&mut visitor, there, |session| session.clear()).await;
    soon("a log-out after renewals", ended).await;

    let (mut visitor, ended) = servers.logged_in(&name("switches")).await;
    visit(&mut visitor, there, |session| session.set_principal(name("another"))).await;
    soon("another user's log-in", ended).await;

    let mut nobody = Visitor::with(here, std::collections::BTreeMap::from([("n", 1)])).await.unwrap();
    let ended = servers.waits(&nobody).await;
    visit(&mut nobody, there, |session| session.clear()).await;
    soon("an anonymous session's end", ended).await;

    let (_, ended) = servers.logged_in(&name("everyone")).await;
    there.revoke_everyone().await.unwrap();
    soon("the end of everybody's", ended).await;
}
