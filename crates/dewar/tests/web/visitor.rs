//! The visitor of applications' tests is a browser: what was committed, it has.

use std::convert::Infallible;

use crate::support::http::secret;
use axum::{Router, body::Body, routing::get};
use dewar::{Session, SessionLayer, SessionManager, dialect::Flask, store::memory::MemoryStore, testing::Visitor};
use http::{Request, Response, StatusCode, header};
use tower::service_fn;

fn managers() -> [SessionManager; 3] {
    let layer = || SessionLayer::new(secret()).unwrap();
    [layer(), layer().store(MemoryStore::new()), layer().dialect(Flask::new)].map(|layer| layer.manager().unwrap())
}

#[tokio::test]
async fn an_edit_in_the_middle_of_a_test_is_there_in_the_next_request() {
    for manager in managers() {
        let mut ada = Visitor::new(&manager);
        ada.edit(|session| session.insert("firstName", "Ada")).await.unwrap();
        let cart = ada.edit(|session| session.update("cart", |cart: &mut Vec<u8>| cart.push(1)));
        assert_eq!(cart.await.unwrap().unwrap(), [1]);
        let session = ada.session().await.unwrap();
        assert!(session.contains("firstName") && session.contains("cart"));
        ada.edit(Session::clear).await.unwrap();
        assert_eq!(ada.cookie(), "");
    }
}

#[tokio::test]
async fn an_edit_that_cannot_be_saved_is_an_error_and_changes_nothing() {
    for manager in managers() {
        let mut ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
        let result = ada.edit(|session| session.insert("odd", Some(None::<u8>))).await;
        assert!(result.unwrap_err().is_entry());
        assert_eq!(ada.session().await.unwrap().keys(), ["a"]);
    }
}

#[tokio::test]
async fn what_is_committed_on_a_visitor_s_session_is_the_visitor_s() {
    for manager in managers() {
        let ada = Visitor::new(&manager);
        let session = ada.session().await.unwrap();
        session.insert("firstName", "Ada");
        assert!(ada.session().await.unwrap().is_empty(), "not before the commit");
        session.commit().await.unwrap();
        session.insert("lastName", "Lovelace");
        session.clone().commit().await.unwrap();
        assert_eq!(ada.session().await.unwrap().keys(), ["firstName", "lastName"]);
        session.clear();
        session.commit().await.unwrap();
        assert_eq!(ada.cookie(), "");
    }
}

#[tokio::test]
async fn a_copy_of_a_visitor_is_another_browser() {
    for manager in managers() {
        let ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
        let copy = ada.clone();
        let session = ada.session().await.unwrap();
        session.clear();
        session.commit().await.unwrap();
        assert_eq!(ada.cookie(), "");
        assert_ne!(copy.cookie(), "");
    }
}

fn app(manager: &SessionManager) -> Router {
    Router::new()
        .route("/count", get(async |session: Session| session.update("n", |n: &mut u8| *n += 1).unwrap().to_string()))
        .route("/out", get(async |session: Session| session.clear()))
        .layer(SessionLayer::from(manager.clone()))
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_takes_the_cookies_along_and_brings_new_ones_back() {
    for manager in managers() {
        let mut app = app(&manager);
        let (mut ada, mut eve) = (Visitor::new(&manager), Visitor::new(&manager));
        for _ in 0..2 {
            let response = ada.send(&mut app, request("/count")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
        eve.send(app.clone(), request("/count")).await.unwrap();
        assert_eq!(ada.session().await.unwrap().get("n"), Some(2));
        assert_eq!(eve.session().await.unwrap().get("n"), Some(1));
        ada.send(app, request("/out")).await.unwrap();
        assert_eq!((ada.cookie().is_empty(), eve.cookie().is_empty()), (true, false));
    }
}

#[tokio::test]
async fn a_request_keeps_the_cookies_that_it_has_itself() {
    let [manager, ..] = managers();
    let mut ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let sees = service_fn(async |request: Request<()>| {
        let cookies = request.headers().get_all(header::COOKIE).iter().count();
        Ok::<_, Infallible>(Response::new(cookies))
    });
    let request = Request::get("/").header(header::COOKIE, "theme=dark").body(()).unwrap();
    assert_eq!(ada.send(sees, request).await.unwrap().into_body(), 2);
}
