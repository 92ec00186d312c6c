//! The HTTP scenarios through actix-web, and what only actix-web has.

use std::{
    net::SocketAddr,
    sync::{atomic::Ordering::SeqCst, mpsc},
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
};
use actix_web::{
    App, FromRequest as _, HttpRequest, HttpResponse, HttpServer,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Condition, Next, from_fn},
    test::{self, TestRequest},
    web,
};
use dewar::{
    Error, Session,
    web::{
        actix::SessionMiddleware,
        conformance::{self, Site},
    },
};

/// The site on actix-web, in a thread of its own.
fn serve(site: Site) -> (SocketAddr, impl Send) {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                // At most two layers; the one wrapped last is the outermost.
                let layers: Vec<_> = site.managers().iter().cloned().map(SessionMiddleware::from).collect();
                let (outer, inner) = (layers[0].clone(), layers.get(1).cloned());
                App::new()
                    .app_data(web::Data::new(site.clone()))
                    .wrap(Condition::new(inner.is_some(), inner.unwrap_or_else(|| outer.clone())))
                    .wrap(outer)
                    .default_service(web::to(page))
            });
            // A client that hangs up ends its handler then.
            let server = server.h1_allow_half_closed(false);
            let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
            let address = server.addrs()[0];
            let server = server.run();
            tell.send((address, server.handle())).unwrap();
            server.await.unwrap();
        });
    });
    let (address, handle) = told.recv().unwrap();
    (address, conformance::on_drop(move || drop(handle.stop(false))))
}

async fn page(request: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let answer = site.answer(path, Session::extract(&request)).await?;
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap());
    for (name, value) in &answer.headers {
        response.insert_header((*name, value.as_str()));
    }
    Ok(response.streaming(futures_util::stream::unfold(answer.body, async |mut body| {
        body.next().await.map(|chunk| (Ok::<_, Error>(chunk), body))
    })))
}

#[tokio::test(flavor = "multi_thread")]
async fn actix_web_passes_every_http_scenario() {
    conformance::check(async |site| serve(site)).await;
}

fn sessions(store: Faulty) -> SessionMiddleware {
    SessionMiddleware::new(secret()).unwrap().store(store)
}

/// The `Cookie` header of the next request.
fn cookie<B>(response: &ServiceResponse<B>) -> (&'static str, String) {
    let set = response.headers().get("set-cookie").unwrap().to_str().unwrap();
    ("cookie", set.split(';').next().unwrap().to_owned())
}

async fn show(session: Session) -> String {
    session.get("name").unwrap_or_else(|| "nothing".into())
}

#[actix_web::test]
async fn a_route_without_the_middleware_says_which_line_to_add() {
    let told = web::to(async |session: Result<Session, Error>| session.unwrap_err().to_string());
    let silent = web::to(async |session: Session| session.len().to_string());
    let app = test::init_service(App::new().route("/told", told).route("/silent", silent)).await;
    let text = test::call_and_read_body(&app, TestRequest::get().uri("/told").to_request()).await;
    assert!(String::from_utf8_lossy(&text).contains("add `.wrap(sessions.clone())`"), "{text:?}");
    let response = test::call_service(&app, TestRequest::get().uri("/silent").to_request()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let text = String::from_utf8_lossy(&test::read_body(response).await).into_owned();
    assert_eq!(text.contains("wrap"), cfg!(debug_assertions), "the developer is told, no visitor is");
}

#[actix_web::test]
async fn a_handler_that_a_time_out_cuts_off_leaves_nothing_and_a_closed_session() {
    let (give, given) = mpsc::channel();
    let hang = web::to(move |session: Session| {
        let give = give.clone();
        async move {
            session.insert("name", "late");
            give.send(session).unwrap();
            std::future::pending::<HttpResponse>().await
        }
    });
    let in_time = async |request: ServiceRequest, next: Next<_>| {
        let answered = tokio::time::timeout(Duration::from_millis(50), next.call(request)).await;
        answered.unwrap_or_else(|_| Err(actix_web::error::ErrorGatewayTimeout("too late")))
    };
    let store = Faulty::default();
    let app = App::new().route("/hang", hang).wrap(sessions(store.clone())).wrap(from_fn(in_time));
    let app = test::init_service(app).await;
    assert!(test::try_call_service(&app, TestRequest::get().uri("/hang").to_request()).await.is_err());
    let session = given.recv().unwrap();
    assert!(session.commit().await.unwrap_err().is_closed());
    assert_eq!(store.writes.load(SeqCst), 0);
}

#[actix_web::test]
async fn a_commit_goes_on_when_its_client_has_gone() {
    let store = Faulty::default();
    let sessions = sessions(store.clone());
    let set =
        web::to(async |session: Session| session.update("count", |count: &mut u32| *count += 1).unwrap().to_string());
    let get = web::to(async |session: Session| session.get::<u32>("count").unwrap_or(0).to_string());
    let app = test::init_service(App::new().route("/set", set).route("/get", get).wrap(sessions.clone())).await;
    let known = cookie(&test::call_service(&app, TestRequest::get().uri("/set").to_request()).await);
    store.fail(Verb::Replace, 1, Fault::Slow(Duration::from_millis(100)));
    let request = TestRequest::get().uri("/set").insert_header(known.clone()).to_request();
    let begun = tokio::time::timeout(Duration::from_millis(30), test::call_service(&app, request)).await;
    assert!(begun.is_err(), "the client goes while the store is slow");
    sessions.manager().unwrap().drain().await.unwrap();
    let request = TestRequest::get().uri("/get").insert_header(known).to_request();
    assert_eq!(test::call_and_read_body(&app, request).await, "2");
}

#[actix_web::test]
async fn a_request_that_is_kept_opens_nothing_after_its_head_has_gone() {
    let (give, given) = mpsc::channel();
    let keep = web::to(move |request: HttpRequest| {
        give.send(request).unwrap();
        async { "kept" }
    });
    let app = App::new().route("/keep", keep).route("/get", web::to(show)).wrap(sessions(Faulty::default()));
    let app = test::init_service(app).await;
    test::call_service(&app, TestRequest::get().uri("/keep").to_request()).await;
    let kept = given.recv().unwrap();
    assert!(Session::extract(&kept).await.unwrap_err().is_closed());
}

#[actix_web::test]
async fn an_error_of_a_handler_is_a_response_that_commits_and_one_of_a_middleware_is_none() {
    let fails = web::to(async |session: Session| {
        session.insert("name", "Ada");
        Err::<String, _>(actix_web::error::ErrorImATeapot("no coffee"))
    });
    let within = async |request: ServiceRequest, next: Next<_>| {
        let response = next.call(request).await?;
        if response.status().is_success() { Err(actix_web::error::ErrorForbidden("no")) } else { Ok(response) }
    };
    let set = web::to(async |session: Session| {
        session.insert("name", "Eve");
        "set"
    });
    let store = Faulty::default();
    let app = App::new().route("/fails", fails).route("/set", set).wrap(from_fn(within)).wrap(sessions(store.clone()));
    let app = test::init_service(app).await;
    let response = test::call_service(&app, TestRequest::get().uri("/fails").to_request()).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    cookie(&response);
    assert!(test::try_call_service(&app, TestRequest::get().uri("/set").to_request()).await.is_err());
    assert_eq!(store.writes.load(SeqCst), 1, "only the response's session was saved");
}

#[actix_web::test]
async fn after_a_scope_of_its_own_the_request_has_the_outer_session_again() {
    let outer = SessionMiddleware::new(secret()).unwrap();
    let inner = outer.clone().cookie_name("__Host-inner");
    let after = async |request: ServiceRequest, next: Next<_>| {
        let response = next.call(request).await?;
        let session = Session::extract(response.request()).await?;
        assert!(session.is_empty(), "the inner one's entries are not the outer one's");
        session.insert("outer", true);
        Ok(response)
    };
    let set = web::to(async |session: Session| {
        session.insert("inner", true);
        "set"
    });
    let scope = web::scope("/inner").wrap(inner).route("/set", set);
    let app = test::init_service(App::new().service(scope).wrap(from_fn(after)).wrap(outer)).await;
    let response = test::call_service(&app, TestRequest::get().uri("/inner/set").to_request()).await;
    let cookies: Vec<_> = response.headers().get_all("set-cookie").map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
}
