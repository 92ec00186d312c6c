//! Tests against real frameworks, servers and a browser. `cargo xtask live` builds and runs it.
#![allow(clippy::print_stdout)]

mod generate;
mod http;
mod own_tests;
mod part;
mod peer;
mod process;
mod races;
mod routes;
mod suite;
mod tools;
mod typed;

use std::process::ExitCode;

use suite::Part;

const SETTINGS: &str = "\
LIVE_SEED=N       repeats the generated sessions of an earlier run; it prints its seed
LIVE_SESSIONS=N   how many sessions are generated (20000)
CI=true           whatever cannot be prepared or run is a failure";

fn main() -> ExitCode {
    let (flags, wanted): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let asks_for_help = |word: &String| matches!(word.as_str(), "help" | "--help" | "-h");
    if flags.iter().chain(&wanted).any(asks_for_help) {
        return help();
    }
    if let Some(flag) = flags.iter().find(|flag| *flag != "--long") {
        eprintln!("error: there is no option {flag}: cargo xtask live help");
        return ExitCode::from(2);
    }
    let long: &[&Part] = if flags.is_empty() { &[] } else { part::LONG };
    let there = || part::ALL.iter().chain(long).copied();
    if let Some(name) = wanted.iter().find(|name| there().all(|part| part.name != name.as_str())) {
        eprintln!("error: there is no part {name:?}: cargo xtask live help");
        return ExitCode::from(2);
    }
    process::end_all_when_asked_to_stop();
    let chosen = there().filter(|part| wanted.is_empty() || wanted.iter().any(|name| name == part.name));
    suite::run(&chosen.collect::<Vec<_>>())
}

fn help() -> ExitCode {
    println!("cargo xtask live [--long] [PART]...   all parts, or those named\n");
    for part in part::ALL {
        println!("{:<14}{}", part.name, part.about);
    }
    println!("\nand with --long");
    for part in part::LONG {
        println!("{:<14}{}", part.name, part.about);
    }
    println!("\n{SETTINGS}");
    ExitCode::SUCCESS
}
