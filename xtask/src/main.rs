//! The chores of this repository: `cargo xtask help`.
#![allow(clippy::print_stdout)]

use std::{
    env,
    process::{Command, ExitCode},
};

const HELP: &str = "\
cargo xtask live [PART]...          tests against real frameworks, servers and a browser; prepares what is missing
cargo xtask live --long [PART]...   the same, and the proofs that take most of an hour
cargo xtask live help               the parts, and what can be set
cargo xtask vectors [PATH]...       sessions that other frameworks wrote: read, written and refused as they do; --help says more
cargo xtask help                    this text";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("live") => run("dewar-live", &["questions", "metrics-example"], &arguments[1..]),
        Some("vectors") => run("dewar-vectors", &[], &arguments[1..]),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("error: there is no command {other:?}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Builds a program of this workspace, and what it needs beside it, and runs it.
fn run(program: &str, beside: &[&str], arguments: &[String]) -> ExitCode {
    build_and_run(program, beside, arguments).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn build_and_run(program: &str, beside: &[&str], arguments: &[String]) -> std::io::Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let programs = beside.iter().chain([&program]).flat_map(|program| ["--bin", program]);
    // Cargo unites the features of the packages that it is asked for; `--examples`, of which there are none, has it count what tests depend on.
    // So nothing is built here that `cargo test` has built.
    let built = clean(Command::new(cargo))
        .args(["build", "--quiet", "--workspace", "--examples"])
        .args(programs)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    // Cargo puts the programs of one workspace side by side.
    let program = env::current_exe()?.with_file_name(format!("{program}{}", env::consts::EXE_SUFFIX));
    let ran = clean(Command::new(program)).args(arguments).status()?;
    Ok(ran.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Without what `cargo run` tells its program of the package: build scripts watch that, and all that stands on them would be built again.
fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|it| name.starts_with(it))) {
            command.env_remove(name);
        }
    }
    command
}
