//! Visitors at once: nobody sees what is another's.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use super::{Browser, Server, cookies::scenarios};

/// How many visit at once, and how often each.
const VISITORS: usize = 60;
const VISITS: usize = 5;

pub(super) async fn check<G>(server: &Server<G>) {
    scenarios! { server;
        visitors_at_once_never_see_what_is_anothers
        visitors_on_one_connection_never_see_what_is_anothers
    }
}

async fn visitors_at_once_never_see_what_is_anothers<G>(server: &Server<G>) {
    all((0..VISITORS).map(|visitor| visit(visitor, server.browser()))).await;
}

/// A proxy sends the requests of all visitors over a few connections.
async fn visitors_on_one_connection_never_see_what_is_anothers<G>(server: &Server<G>) {
    let (mut ada, mut eve) = (server.browser(), server.browser());
    ada.get("/set?Ada").await;
    eve.get("/set?Eve").await;
    let (ada, eve) = (ada.cookie.unwrap_or_default(), eve.cookie.unwrap_or_default());
    let cookies = [ada.as_str(), &eve, "theme=dark", &ada, "theme=dark", &eve];
    let pages = server.browser().on_one_connection(&cookies, "/get").await;
    let seen: Vec<&str> = pages.iter().map(|page| page.text.as_str()).collect();
    assert_eq!(seen, ["Ada", "Eve", "nothing", "Ada", "nothing", "Eve"]);
}

async fn visit(visitor: usize, mut browser: Browser<'_>) {
    assert_eq!(browser.sees("/get").await, "nothing");
    for visit in 0..VISITS {
        browser.get(&format!("/set?visitor-{visitor}-{visit}")).await;
        assert_eq!(browser.sees("/get").await, format!("visitor-{visitor}-{visit}"));
        assert_eq!(browser.sees("/count").await, (visit + 1).to_string());
    }
    browser.get("/clear").await;
    assert_eq!(browser.sees("/get").await, "nothing");
}

/// Runs them side by side, in this task.
async fn all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
