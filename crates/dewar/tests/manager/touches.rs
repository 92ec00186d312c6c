//! Pages that only read, on a store that cannot be written to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Verb},
    site::{self, Request, Site},
};
use dewar::{Lifetime, SessionManager, store::SessionAdmin, testing::Visitor};
use http::header;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

const HOUR: Duration = Duration::from_secs(3600);

/// Somebody whom the site remembers for a day after the last visit.
async fn remembered(manager: &SessionManager) -> Visitor {
    let prepared = Visitor::prepared(manager, |session| {
        session.insert("n", 1);
        session.set_lifetime(Lifetime::persistent().idle(24 * HOUR));
    });
    prepared.await.unwrap()
}

/// Counts what has this name, and forgets the rest.
struct Counting(&'static str, Arc<AtomicU64>);

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == self.0 { Counter::from_arc(Arc::clone(&self.1)) } else { Counter::noop() }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn a_page_that_only_reads_is_answered_though_its_session_cannot_be_touched() {
    let counting = Counting("dewar_store_errors_total", Arc::default());
    let _guard = metrics::set_default_local_recorder(&counting);
    for fault in [Fault::NotDone, Fault::Lost] {
        counting.1.store(0, SeqCst);
        let site = Site::new();
        let mut ada = remembered(&site.manager).await;
        site.clock.advance(3 * HOUR);
        site.store.always(Verb::Touch, fault);
        let request = Request::begin(&ada, &site.manager).await;
        assert_eq!(request.session.get("n"), Some(1));
        // No cookie: it would outlive the record.
        request.end_silently().await;
        assert_eq!(counting.1.load(SeqCst), 1, "{fault:?}: it is counted");

        site.store.heal();
        site.clock.advance(3 * HOUR);
        let request = Request::begin(&ada, &site.manager).await;
        let response = request.end().await.unwrap();
        assert!(response.contains_key(header::SET_COOKIE), "{fault:?}: the next request sets it");
        ada.receive(&response);
        site.clock.advance(23 * HOUR);
        assert_eq!(ada.session().await.unwrap().get("n"), Some(1), "{fault:?}: and moves the expiry");
    }
}

#[tokio::test]
async fn a_session_that_is_never_touched_ends_when_it_was_to_end() {
    let site = Site::new();
    let ada = remembered(&site.manager).await;
    site.store.always(Verb::Touch, Fault::NotDone);
    for _ in 0..7 {
        site.clock.advance(3 * HOUR);
        Request::begin(&ada, &site.manager).await.end_silently().await;
    }
    let stored = site.store.list(None, None, 9, site.clock.now()).await.unwrap();
    assert_eq!(stored[0].1.idle_expires, site::BEGIN.after(24 * HOUR), "nothing says otherwise");
    site.clock.advance(3 * HOUR);
    assert!(ada.session().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_that_cannot_be_written_stays_an_error() {
    let site = Site::new();
    let ada = remembered(&site.manager).await;
    site.clock.advance(3 * HOUR);
    site.store.always(Verb::Touch, Fault::NotDone);
    site.store.always(Verb::Replace, Fault::NotDone);
    let request = Request::begin(&ada, &site.manager).await;
    request.session.insert("n", 2);
    assert!(request.end().await.unwrap_err().is_store());
}
