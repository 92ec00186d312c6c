//! What becomes of a handler whose client has gone, where `docs/frameworks.md` speaks of it.

use std::{
    future::pending,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

/// Tells when the handler has begun, and when it is dropped.
struct Handler(Sender<&'static str>);

impl Handler {
    async fn linger(self) -> String {
        self.0.send("begun").unwrap();
        pending().await
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

/// Asks for a page that never comes, and hangs up. Whether its handler is dropped within a second.
fn ends(serve: impl FnOnce(TcpListener, Sender<&'static str>) + Send + 'static) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || serve(listener, tell));
    hang_up(address, &told);
    told.recv_timeout(Duration::from_secs(1)).is_ok()
}

fn hang_up(address: SocketAddr, told: &Receiver<&'static str>) {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(told.recv(), Ok("begun"));
}

mod actix {
    use std::{net::TcpListener, sync::mpsc::Sender};

    use actix_web::{App, HttpServer, rt::System, web};

    pub(crate) fn serve(listener: TcpListener, tell: Sender<&'static str>, allow_half_closed: bool) {
        let app = move || {
            let tell = tell.clone();
            App::new().default_service(web::to(move || super::Handler(tell.clone()).linger()))
        };
        let server = HttpServer::new(app).h1_allow_half_closed(allow_half_closed).workers(1).disable_signals();
        System::new().block_on(server.listen(listener).unwrap().run()).unwrap();
    }
}

#[test]
fn actix_web_goes_on_with_a_handler_whose_client_has_gone() {
    assert!(!ends(|listener, tell| actix::serve(listener, tell, true)));
}

#[test]
fn actix_web_ends_a_handler_whose_client_has_gone_where_it_allows_no_half_closed_connections() {
    assert!(ends(|listener, tell| actix::serve(listener, tell, false)));
}

#[test]
fn poem_goes_on_with_a_handler_whose_client_has_gone() {
    assert!(!ends(|listener, tell| {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = poem::listener::TcpAcceptor::from_tokio(listener).unwrap();
            let page = poem::endpoint::make(move |_| Handler(tell.clone()).linger());
            poem::Server::new_with_acceptor(acceptor).run(page).await.unwrap();
        });
    }));
}
