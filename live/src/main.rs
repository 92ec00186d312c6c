//! Tests against real frameworks, servers and a browser. `cargo xtask live` builds and runs it.
#![allow(clippy::print_stdout)]

mod generate;
mod http;
mod part;
mod peer;
mod process;
mod suite;
mod tools;
mod typed;

use std::process::ExitCode;

const SETTINGS: &str = "\
LIVE_SEED=N       repeats the generated sessions of an earlier run; it prints its seed
LIVE_SESSIONS=N   how many sessions are generated (20000)
CI=true           whatever cannot be prepared or run is a failure";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|word| matches!(word.as_str(), "help" | "--help" | "-h")) {
        println!("cargo xtask live [PART]...   all parts, or those named\n");
        for part in part::ALL {
            println!("{:<14}{}", part.name, part.about);
        }
        println!("\n{SETTINGS}");
        return ExitCode::SUCCESS;
    }
    let unknown = wanted.iter().find(|name| part::ALL.iter().all(|part| part.name != name.as_str()));
    if let Some(name) = unknown {
        eprintln!("error: there is no part {name:?}: cargo xtask live help");
        return ExitCode::from(2);
    }
    process::end_all_when_asked_to_stop();
    let chosen =
        part::ALL.iter().copied().filter(|part| wanted.is_empty() || wanted.iter().any(|name| name == part.name));
    suite::run(&chosen.collect::<Vec<_>>())
}
