//! The library without an operating system: built for WebAssembly, and run in Node by `live/wasm/run.mjs`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    process::Process,
    suite::{Part, scenarios},
    tools::{CARGO, NODE, RUST_FOR_WASM, Tools, root, wasm},
};

pub(crate) static PART: Part = Part {
    name: "wasm",
    about: "the core on wasm32-unknown-unknown and wasm32-wasip1, each promise in Node on both",
    needs: &[&CARGO, &RUST_FOR_WASM, &NODE],
    scenarios: scenarios![
        the_core_builds_for_both_platforms,
        javascript_s_random_numbers_are_a_feature_away,
        a_sealed_session_comes_back,
        a_session_under_a_passphrase_comes_back,
        a_tampered_cookie_is_an_empty_session,
        an_expired_cookie_is_an_empty_session,
        flask_s_and_express_s_cookies_come_back,
        a_manager_goes_by_the_clock_that_it_was_given,
        a_platform_without_a_clock_is_refused_by_name,
        a_store_without_a_runtime_is_refused_by_name,
        a_memory_store_keeps_sessions_with_a_runtime_of_one_s_own,
        random_numbers_come_from_the_host,
    ],
};

fn the_core_builds_for_both_platforms(tools: &Tools) {
    for target in wasm::TARGETS {
        finish(cargo(tools, "build", &root().join("live/wasm"), target).arg("--no-default-features"));
    }
}

/// Then the program needs no random numbers of its own: the setting of `live/wasm/.cargo/config.toml` is not read in the repository's folder.
fn javascript_s_random_numbers_are_a_feature_away(tools: &Tools) {
    let manifest = root().join("live/wasm/Cargo.toml");
    // It is not run, and another setting has every dependency compiled anew: to check it says as much.
    let mut command = cargo(tools, "check", &root(), "wasm32-unknown-unknown");
    command.arg("--manifest-path").arg(manifest).args(["--features", "wasm_js"]);
    finish(&mut command);
}

/// Scenarios that `live/wasm/src/sessions.rs` tells, under the same names.
macro_rules! told_by_the_program {
    ($($name:ident),* $(,)?) => {
        $(fn $name(tools: &Tools) {
            run_on_both(tools, stringify!($name));
        })*
    };
}

told_by_the_program![
    a_sealed_session_comes_back,
    a_session_under_a_passphrase_comes_back,
    a_tampered_cookie_is_an_empty_session,
    an_expired_cookie_is_an_empty_session,
    flask_s_and_express_s_cookies_come_back,
    a_manager_goes_by_the_clock_that_it_was_given,
    a_platform_without_a_clock_is_refused_by_name,
    a_store_without_a_runtime_is_refused_by_name,
    a_memory_store_keeps_sessions_with_a_runtime_of_one_s_own,
    random_numbers_come_from_the_host,
];

/// It panics where the promise is broken on one of them.
fn run_on_both(tools: &Tools, name: &str) {
    for target in wasm::TARGETS {
        let program = program(tools, target);
        let mut node = tools.command(&NODE);
        node.args(["--no-warnings", "live/wasm/run.mjs"]).arg(program).arg(name);
        let (status, text) = Process::start(target, &mut node).finish();
        assert!(status.success() && text.contains(&format!("{name}: kept")), "{target}: Node ended with {status}");
    }
}

/// Builds the program for this platform, where it has changed, and returns its file.
fn program(tools: &Tools, target: &str) -> PathBuf {
    finish(&mut cargo(tools, "build", &root().join("live/wasm"), target));
    target_folder().join(target).join("debug/dewar_wasm.wasm")
}

fn cargo(tools: &Tools, verb: &str, folder: &Path, target: &str) -> Command {
    let mut cargo = Command::new(tools.path(&CARGO));
    wasm::use_in(&mut cargo, tools.path(&RUST_FOR_WASM));
    // Flags of whoever runs the suite would take the place of the program's own.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        cargo.env_remove(flags);
    }
    cargo.current_dir(folder).args([verb, "--locked", "--quiet", "--target", target]);
    cargo.arg("--target-dir").arg(target_folder());
    cargo
}

fn finish(cargo: &mut Command) {
    let (status, _) = Process::start("cargo", cargo).finish();
    assert!(status.success(), "cargo ended with {status}");
}

/// Beside the folder that this program was built into: another rustc, other dependencies.
fn target_folder() -> PathBuf {
    let program = env::current_exe().expect("a program has a path");
    program.ancestors().nth(2).expect("Cargo puts it two folders deep").join("live-wasm")
}
