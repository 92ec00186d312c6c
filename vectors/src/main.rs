//! Runs the sessions that other frameworks wrote through dewar's dialects: `cargo xtask vectors`.

mod ask;
mod check;
mod entries;
mod file;
mod frameworks;
mod tally;
#[path = "../../crates/dewar/tests/support/typed.rs"]
#[allow(dead_code, unreachable_pub)] // Tests use the rest of it.
mod typed;
mod write;

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use file::{File, Found};
use tally::Tally;

const HELP: &str = "\
cargo xtask vectors [--json] [--verbose] [PATH]...

Reads, explains, writes and reads back every vector of the schema session-interop/1. PATH is a file, or a folder of them;
the default is the repository's vectors/.

--json       for machines, with every mismatch
--verbose    every mismatch, not only the first 20

Exit code: 0, 1 where anything mismatches, 2 where an argument or a file is not what it should be.";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return print(&format!("{HELP}\n"), ExitCode::SUCCESS),
        Err(why) => {
            eprintln!("error: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    run(&arguments).unwrap_or_else(|why| {
        eprintln!("error: {why}");
        ExitCode::from(2)
    })
}

struct Arguments {
    json: bool,
    verbose: bool,
    paths: Vec<PathBuf>,
}

impl Arguments {
    /// `None`: help is asked for.
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parsed = Self { json: false, verbose: false, paths: Vec::new() };
        for argument in arguments {
            match argument.as_str() {
                "--json" => parsed.json = true,
                "--verbose" => parsed.verbose = true,
                "--help" | "-h" | "help" => return Ok(None),
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                path => parsed.paths.push(path.into()),
            }
        }
        if parsed.paths.is_empty() {
            parsed.paths.push(env!("CARGO_MANIFEST_DIR").into());
        }
        Ok(Some(parsed))
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let (mut tallies, mut passed_over) = (Vec::new(), Vec::new());
    for path in &arguments.paths {
        run_path(path, &mut tallies, &mut passed_over)?;
    }
    let text = if arguments.json {
        format!("{:#}\n", tally::json(&tallies, &passed_over))
    } else {
        let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let mut text = tally::table(&tallies, colour, arguments.verbose);
        for file in passed_over {
            text += &format!("\npassed over, as it is not of the schema: {file}\n");
        }
        text
    };
    let clean = tallies.iter().all(Tally::is_clean);
    Ok(print(&text, if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// Runs a file, or those of a folder. Of a folder, JSON of another kind is passed over.
fn run_path(path: &Path, tallies: &mut Vec<Tally>, passed_over: &mut Vec<String>) -> Result<(), String> {
    let (is_folder, before) = (path.is_dir(), tallies.len());
    let files = if is_folder { file::in_folder(path)? } else { vec![path.to_owned()] };
    for file in files {
        match File::open(&file)? {
            Found::Vectors(file) => tallies.push(Tally::of(&file)),
            Found::Foreign(path) if is_folder => passed_over.push(path.display().to_string()),
            Found::Foreign(path) => return Err(format!("{}: its schema is not session-interop/1", path.display())),
        }
    }
    if tallies.len() == before {
        return Err(format!("{}: there is no file of vectors in it", path.display()));
    }
    Ok(())
}

/// Prints, and is content where nobody reads to the end.
fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}
