//! A site with accounts: log in, see and end your devices, log out. Made to be copied.

mod device;
mod pages;
mod settings;
mod users;

use std::{
    io::{IsTerminal, Write},
    net::IpAddr,
    process::ExitCode,
};

use clap::Parser;
use tokio::{net::TcpListener, signal, sync::watch};
use tracing_subscriber::EnvFilter;

use settings::Settings;
use users::Users;

/// The account that is there from the start.
const DEMO: &str = "ada";

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    match run(Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    if settings.print_schema {
        std::io::stdout().write_all(settings.schema()?.as_bytes())?;
        return Ok(());
    }
    let sessions = settings.session_layer()?;
    let manager = sessions.manager()?;
    // An application that cannot reach its store is not started: the one before it goes on.
    manager.ping().await.map_err(|error| format!("SESSION_STORE: {error}"))?;
    let (password, generated) = settings.demo_password();
    let users = Users::new().await?;
    users.add_demo(DEMO, password.clone()).await?;
    let (running, stopping) = watch::channel(());
    let app = pages::app(sessions, users, &settings.folder(), stopping);
    let (host, port) = (&settings.host, settings.port);
    let listener = TcpListener::bind((host.as_str(), port)).await.map_err(|error| {
        format!("cannot listen on {host}, port {port}: {error}. Choose another: PORT=5002 cargo run -p login")
    })?;
    let stop = asked_to_stop()?;
    announce(&settings, listener.local_addr()?.port(), generated.then_some(&password));
    let stop = async {
        stop.await;
        // Pages that listen do not keep the program.
        drop(running);
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    // Who hung up has left a commit behind that no answer waits for.
    manager.drain().await?;
    eprintln!("Stopped.");
    Ok(())
}

/// What a person waits for: where it is, and how to get in.
#[allow(clippy::print_stdout)]
fn announce(settings: &Settings, port: u16, password: Option<&String>) {
    let host = match settings.host.parse() {
        Ok(IpAddr::V6(host)) => format!("[{host}]"),
        _ => settings.host.clone(),
    };
    let everywhere = if host == "0.0.0.0" { "every address of this machine; " } else { "" };
    println!("Login at http://{host}:{port} ({everywhere}Ctrl-C stops)");
    match password {
        Some(password) => println!("Log in as {DEMO} with the password {password} (DEMO_PASSWORD sets another)"),
        None => println!("Log in as {DEMO} with your DEMO_PASSWORD"),
    }
}

/// Ends on Ctrl-C, and on SIGTERM, which a platform sends before it moves the application. Listens from now on.
#[cfg(unix)]
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())?;
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends on Ctrl-C.
#[cfg(not(unix))]
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = signal::ctrl_c().await;
    })
}
