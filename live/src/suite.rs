//! Runs the scenarios of the chosen parts and says how each went.

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Mutex,
    time::Instant,
};

use crate::{
    process,
    tools::{Tool, Tools},
};

/// Scenarios that belong together, and the tools they need.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [&'static Tool],
    pub(crate) scenarios: &'static [Scenario],
}

/// One promise. It panics where the promise is broken.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Tools),
}

/// Scenarios by the names of their functions, which are sentences.
macro_rules! scenarios {
    ($($run:ident),* $(,)?) => {
        &[$($crate::suite::Scenario { name: stringify!($run), run: $run }),*]
    };
}
pub(crate) use scenarios;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    seconds: f32,
}

/// Where and why the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

pub(crate) fn run(parts: &[&Part]) -> ExitCode {
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = PANIC.lock() {
            *last = info.to_string();
        }
    }));
    let tools = Tools::prepare(parts.iter().flat_map(|part| part.needs.iter().copied()));
    let tallies: Vec<Tally> = parts.iter().map(|part| run_part(part, &tools, strict)).collect();
    summarize(parts, &tallies, strict)
}

fn run_part(part: &Part, tools: &Tools, strict: bool) -> Tally {
    println!("\n{}: {}", part.name, part.about);
    let began = Instant::now();
    let mut tally = Tally::default();
    let missing: Vec<&str> = part.needs.iter().filter(|tool| !tools.has(tool)).map(|tool| tool.name).collect();
    for scenario in part.scenarios {
        let name = scenario.name.replace('_', " ");
        if !missing.is_empty() {
            let outcome = if strict { "FAILED " } else { "skipped" };
            println!("  {outcome}  {name} (no {})", missing.join(", no "));
            *(if strict { &mut tally.failed } else { &mut tally.skipped }) += 1;
            continue;
        }
        let began = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (scenario.run)(tools)));
        let seconds = began.elapsed().as_secs_f32();
        let logs = process::take_logs();
        if outcome.is_ok() {
            tally.passed += 1;
            println!("  passed   {name} ({seconds:.1} s)");
            continue;
        }
        tally.failed += 1;
        println!("  FAILED   {name} ({seconds:.1} s)");
        indent(&PANIC.lock().map(|last| last.clone()).unwrap_or_default());
        for (process, log) in logs {
            println!("    --- what {process} printed");
            indent(&log);
        }
    }
    tally.seconds = began.elapsed().as_secs_f32();
    tally
}

/// The end of a text, and of each line its beginning.
fn indent(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(60)..] {
        println!("    {line:.4000}");
    }
}

/// A line about what a scenario saw, beside its outcome.
pub(crate) fn note(text: &str) {
    println!("           {text}");
}

fn summarize(parts: &[&Part], tallies: &[Tally], strict: bool) -> ExitCode {
    println!("\n{:<14}{:>8}{:>8}{:>9}{:>10}", "part", "passed", "failed", "skipped", "seconds");
    let mut all = Tally::default();
    for (part, tally) in parts.iter().zip(tallies) {
        let Tally { passed, failed, skipped, seconds } = tally;
        println!("{:<14}{passed:>8}{failed:>8}{skipped:>9}{seconds:>10.1}", part.name);
        all.passed += passed;
        all.failed += failed;
        all.skipped += skipped;
    }
    if all.skipped > 0 && !strict {
        println!("\nWhat was skipped could not run here; with CI=true it would have failed.");
    }
    println!("\n{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
    if all.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
