//! A site whose sessions are watched: visitors have one address, and Prometheus another.

mod operations;
mod pages;
mod settings;

use std::process::ExitCode;

use clap::Parser;
use tokio::{net::TcpListener, signal};
use tracing_subscriber::EnvFilter;

use settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    // First of all: what happens before somebody counts is not counted.
    let metrics = operations::count()?;
    let sessions = settings.session_layer()?;
    let manager = sessions.manager()?;
    let site = listen(&settings.address, "ADDRESS").await?;
    let operators = listen(&settings.metrics_address, "METRICS_ADDRESS").await?;
    let stop = asked_to_stop()?;
    announce(&site, &operators)?;
    tokio::spawn(operations::upkeep(metrics.clone()));
    if settings.has_store() {
        tokio::spawn(operations::count_sessions(manager.clone(), settings.count_every()));
    }
    // It is asked until the process ends, so that the last requests are counted, too.
    tokio::spawn(axum::serve(operators, operations::app(metrics, manager.clone())).into_future());
    axum::serve(site, pages::app(sessions)).with_graceful_shutdown(stop).await?;
    // Who hung up has left a commit behind that no answer waits for.
    manager.drain().await?;
    eprintln!("Stopped.");
    Ok(())
}

async fn listen(address: &str, setting: &str) -> Result<TcpListener, String> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| {
        format!("{setting}: cannot listen on {address}: {error}. Choose another, such as {setting}=127.0.0.1:9465")
    })
}

/// What a person waits for: where it is.
#[allow(clippy::print_stdout)]
fn announce(site: &TcpListener, operators: &TcpListener) -> std::io::Result<()> {
    println!("Site at http://{} (Ctrl-C stops)", site.local_addr()?);
    println!("Metrics at http://{}/metrics", operators.local_addr()?);
    Ok(())
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
