//! `serve-actix actix|actix-cookie|actix-redis <port>`: actix-web alone, and with actix-session, on one worker. Redis is
//! at REDIS_URL.

use actix_session::{
    Session, SessionMiddleware,
    storage::{CookieSessionStore, RedisSessionStore},
};
use actix_web::{
    App, Error, HttpServer,
    cookie::Key,
    web::{ServiceConfig, get},
};

#[path = "../../../peers/src/session.rs"]
mod session;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(peer), Some(port)) = (arguments.next(), arguments.next()) else { panic!("serve-actix <peer> <port>") };
    let address = ("127.0.0.1", port.parse::<u16>().expect("a port"));
    let key = Key::generate();
    match &*peer {
        "actix" => HttpServer::new(|| App::new().configure(bare)).workers(1).bind(address)?.run().await,
        "actix-cookie" => {
            let app = move || {
                let sessions = SessionMiddleware::new(CookieSessionStore::default(), key.clone());
                App::new().wrap(sessions).configure(routes)
            };
            HttpServer::new(app).workers(1).bind(address)?.run().await
        }
        "actix-redis" => {
            let url = std::env::var("REDIS_URL").expect("REDIS_URL is not set");
            let store = RedisSessionStore::new(url).await.expect("a server");
            let app = move || App::new().wrap(SessionMiddleware::new(store.clone(), key.clone())).configure(routes);
            HttpServer::new(app).workers(1).bind(address)?.run().await
        }
        _ => panic!("{peer} is not served here"),
    }
}

fn bare(app: &mut ServiceConfig) {
    app.route("/untouched", get().to(async || "Hello"))
        .route("/read", get().to(async || "Ada".to_owned()))
        .route("/write", get().to(async || 42_u32.to_string()))
        .route("/login", get().to(async || "Hello"))
        .route("/seed", get().to(async || "Hello"));
}

fn routes(app: &mut ServiceConfig) {
    app.route("/untouched", get().to(async || "Hello"))
        .route("/read", get().to(read))
        .route("/write", get().to(write))
        .route("/login", get().to(login))
        .route("/seed", get().to(seed));
}

async fn read(session: Session) -> Result<String, Error> {
    Ok(session.get::<String>("firstName")?.unwrap_or_default())
}

async fn write(session: Session) -> Result<String, Error> {
    let visits = session.get::<u32>("visits")?.unwrap_or_default() + 1;
    session.insert("visits", visits)?;
    Ok(visits.to_string())
}

async fn login(session: Session) -> Result<&'static str, Error> {
    session.renew();
    session.insert("user", "ada")?;
    session.insert("firstName", "Ada")?;
    Ok("Hello")
}

async fn seed(session: Session) -> Result<&'static str, Error> {
    for (name, value) in session::session() {
        session.insert(name, value)?;
    }
    Ok("Hello")
}
