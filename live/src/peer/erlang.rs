//! Plug's session cookie in Erlang alone: `live/erlang_app/session.escript`.

use std::{io::Write, process::Stdio, thread};

use crate::tools::{ERLANG, Tools, root};

/// What both sides derive their keys from.
pub(crate) const SECRET: &str = "the secret_key_base of this spring, number 2, which has more than 64 bytes";
pub(crate) const SIGNING_SALT: &str = "a signing salt";
pub(crate) const ENCRYPTION_SALT: &str = "an encryption salt";

/// What Erlang says of cookies, one line each.
pub(crate) fn check(tools: &Tools, cookies: &[String]) -> Vec<String> {
    run(tools, "check", &[], &cookies.join("\n"))
}

/// Sessions that Erlang has generated, each encrypted, in the older form, and signed.
pub(crate) fn make(tools: &Tools, count: usize, seed: u64) -> Vec<[String; 3]> {
    let lines = run(tools, "make", &[count.to_string(), seed.to_string()], "");
    let cookies = |line: &String| {
        let mut cookies = line.split(' ').map(str::to_owned);
        [(); 3].map(|()| cookies.next().expect("three cookies"))
    };
    lines.iter().map(cookies).collect()
}

fn run(tools: &Tools, what: &str, more: &[String], input: &str) -> Vec<String> {
    let mut command = tools.command(&ERLANG);
    command.arg(root().join("live/erlang_app/session.escript")).args([what, SECRET, SIGNING_SALT, ENCRYPTION_SALT]);
    command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut erlang = command.spawn().expect("Erlang starts");
    let mut stdin = erlang.stdin.take().expect("a pipe");
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).expect("Erlang reads"));
        erlang.wait_with_output().expect("Erlang ends")
    });
    assert!(output.status.success(), "Erlang ended with {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
