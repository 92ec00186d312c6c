//! The suite that every adapter passes, in every framework.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use dewar::web::conformance::{self, Body};
use futures_util::stream::{self, Stream};
use tokio::{net::TcpListener, sync::oneshot};

/// A free port.
async fn listener() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// Runs a server until what this returns is dropped.
fn running(server: impl Future<Output = ()> + Send + 'static) -> impl Send {
    let server = tokio::spawn(server);
    conformance::on_drop(move || server.abort())
}

fn pieces(body: Body) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(body, async |mut body| body.next().await.map(|piece| (Ok(piece), body)))
}

mod axum {
    use axum::{Router, body::Body, extract::Request, response::Response};
    use dewar::{Error, Session, SessionLayer, web::conformance::Site};

    async fn page(site: Site, request: Request) -> Result<Response, Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = site.answer(path, Session::from_extensions(request.extensions())).await?;
        let mut response = Response::builder().status(answer.status);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Body::from_stream(super::pieces(answer.body))).unwrap())
    }

    pub(crate) fn app(site: Site) -> Router {
        let layers: Vec<_> = site.managers().iter().cloned().map(SessionLayer::from).collect();
        let app = Router::new().fallback(async move |request: Request| page(site, request).await);
        // The one that is added last is the outermost.
        layers.into_iter().rev().fold(app, Router::layer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn axum_keeps_every_promise() {
    conformance::check(async |site| {
        let (address, listener) = listener().await;
        (address, running(async { ::axum::serve(listener, axum::app(site)).await.unwrap() }))
    })
    .await;
}

mod actix {
    use std::net::TcpListener;

    use actix_web::{
        App, FromRequest, HttpRequest, HttpResponse, HttpServer,
        http::StatusCode,
        middleware::Condition,
        rt::System,
        web::{self, Data},
    };
    use dewar::{
        Error, Session,
        web::{actix::SessionMiddleware, conformance::Site},
    };
    use tokio::sync::oneshot;

    async fn page(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = site.answer(path, Session::extract(&request)).await?;
        let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap());
        for header in answer.headers {
            response.append_header(header);
        }
        Ok(response.streaming(Box::pin(super::pieces(answer.body))))
    }

    pub(crate) fn serve(listener: TcpListener, site: Site, stop: oneshot::Receiver<()>) {
        let layers: Vec<_> = site.managers().iter().cloned().map(SessionMiddleware::from).collect();
        let app = move || {
            let (outer, inner) = (layers[0].clone(), layers.get(1).unwrap_or(&layers[0]).clone());
            // The one that is added last is the outermost.
            App::new()
                .wrap(Condition::new(layers.len() > 1, inner))
                .wrap(outer)
                .app_data(Data::new(site.clone()))
                .default_service(web::to(page))
        };
        let server = HttpServer::new(app).h1_allow_half_closed(false).workers(1).disable_signals();
        System::new().block_on(async {
            let server = server.listen(listener).unwrap().run();
            let handle = server.handle();
            tokio::spawn(async move {
                let _ = stop.await;
                handle.stop(false).await;
            });
            server.await.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actix_web_keeps_every_promise() {
    conformance::check(async |site| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || actix::serve(listener, site, stopped));
        (address, stop)
    })
    .await;
}

mod poem {
    use dewar::{Session, web::conformance::Site};
    use frameworks::poem::with_sessions;
    use poem::{Body, Endpoint, EndpointExt, Error, Request, Response, Result, endpoint};

    async fn page(site: Site, request: Request) -> Result<Response> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = site.answer(path, Session::from_extensions(request.extensions())).await;
        let answer = answer.map_err(|error| Error::from_status(error.status()))?;
        let mut response = Response::builder().status(answer.status.try_into().unwrap());
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Body::from_bytes_stream(super::pieces(answer.body))))
    }

    pub(crate) fn app(site: Site) -> impl Endpoint<Output = Response> {
        let managers = site.managers().to_vec();
        let page = endpoint::make(move |request| page(site.clone(), request)).boxed();
        managers.into_iter().rev().fold(page, |page, manager| with_sessions(manager.into(), page).boxed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poem_keeps_every_promise() {
    conformance::check(async |site| {
        let (address, listener) = listener().await;
        let acceptor = ::poem::listener::TcpAcceptor::from_tokio(listener).unwrap();
        let server = ::poem::Server::new_with_acceptor(acceptor);
        (address, running(async { server.run(poem::app(site)).await.unwrap() }))
    })
    .await;
}

mod salvo {
    use dewar::{Session, SessionLayer, web::conformance::Site};
    use salvo::{http::HeaderValue, prelude::*};

    struct Page(Site);

    #[handler]
    impl Page {
        async fn handle(&self, request: &mut Request, response: &mut Response) -> Result<(), StatusCode> {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let answer = self.0.answer(path, Session::from_extensions(request.extensions())).await;
            let answer = answer.map_err(|error| error.status())?;
            response.status_code(answer.status.try_into().unwrap());
            for (name, value) in answer.headers {
                response.headers_mut().append(name, HeaderValue::try_from(value).unwrap());
            }
            response.stream(super::pieces(answer.body));
            Ok(())
        }
    }

    pub(crate) fn app(site: Site) -> Router {
        let layers: Vec<_> = site.managers().iter().cloned().map(SessionLayer::from).collect();
        // The one that is added first is the outermost.
        let router = layers.into_iter().fold(Router::new(), |router, layer| router.hoop(layer.compat()));
        router.push(Router::with_path("{**path}").goal(Page(site)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn salvo_keeps_every_promise() {
    conformance::check(async |site| {
        let (address, listener) = listener().await;
        let acceptor = ::salvo::conn::tcp::TcpAcceptor::try_from(listener).unwrap();
        (address, running(::salvo::Server::new(acceptor).serve(salvo::app(site))))
    })
    .await;
}
