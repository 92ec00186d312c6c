//! `cargo run -- axum`, or another one: starts the application on port 5000, with the secret from `SECRET_KEY`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("axum") => frameworks::axum::main(),
        Some("actix") => frameworks::actix::main(),
        Some("poem") => frameworks::poem::main(),
        Some("salvo") => frameworks::salvo::main(),
        _ => Err("which one? axum, actix, poem or salvo".into()),
    }
}
