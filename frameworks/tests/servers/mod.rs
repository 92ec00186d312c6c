//! The applications as servers, with a few pages more that do what an application should not.

use std::{
    future::pending,
    net::TcpListener,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
};

use dewar::{Session, SessionManager};
use tokio::sync::oneshot;

pub(crate) mod actix;
pub(crate) mod axum;
pub(crate) mod poem;
pub(crate) mod salvo;

/// Serves an application with a layer of this manager, or with none, until it is told to stop.
pub(crate) type Serve = fn(TcpListener, Option<SessionManager>, oneshot::Receiver<()>);

/// Runs a server on tokio until it is told to stop. Dropping the runtime ends its connections too.
fn run_until(stop: oneshot::Receiver<()>, server: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(async {
        tokio::select! {
            _ = stop => {}
            () = server => panic!("the server ended by itself"),
        }
    });
}

/// In a runtime: what every server of tokio needs.
fn of_tokio(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

/// Writes, and panics. It unwinds as any panic does, and prints nothing.
fn write_and_panic(session: &Session) -> &'static str {
    session.insert("firstName", "Ghost");
    resume_unwind(Box::new("as it was asked to"))
}

/// Writes, and waits until the client has gone.
async fn write_and_linger(session: Session) -> &'static str {
    let name: String = session.get("firstName").unwrap();
    let _gone = Gone(name.clone());
    session.insert("firstName", "Ghost");
    note(&WAITING, name);
    pending().await
}

pub(crate) type Names = Mutex<Vec<String>>;

/// Who asked for a page that waits, and who has gone since.
pub(crate) static WAITING: Names = Mutex::new(Vec::new());
pub(crate) static GONE: Names = Mutex::new(Vec::new());

struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        note(&GONE, self.0.clone());
    }
}

fn note(names: &Names, name: String) {
    names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
}
