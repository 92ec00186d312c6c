//! The example as a platform starts and stops it.

use std::{fs, path::Path};

use super::LESSON;
use crate::{
    http::Visitor,
    peer::questions,
    process::{Process, free_port},
    suite::{Part, scenarios},
    tools::{Tools, plain_command, root},
};

pub(crate) static PART: Part = Part {
    name: "procfile",
    about: "the example as a platform runs it: the Procfile's line, PORT, SIGTERM",
    needs: &[],
    scenarios: scenarios![
        the_procfile_s_line_serves_on_the_port_of_the_platform,
        it_stops_cleanly_when_the_platform_says_so,
        without_a_secret_it_starts_and_says_so,
    ],
};

/// The Procfile's line, with the program that was built beside this one.
fn start(secret: Option<&str>) -> (Process, u16) {
    let procfile = fs::read_to_string(root().join("Procfile")).expect("there is a Procfile");
    let line = procfile.lines().find_map(|line| line.strip_prefix("web:")).expect("the Procfile has a line for web");
    assert!(line.contains("./target/release/questions"), "{line}");
    let line = line.replace("./target/release/questions", "\"$PROGRAM\"");
    let port = free_port();
    let mut command = plain_command(Path::new("/bin/sh"));
    command.arg("-c").arg(format!("exec env {line}")).env("PROGRAM", questions::binary()).env("PORT", port.to_string());
    if let Some(secret) = secret {
        command.env("SECRET_KEY", secret);
    }
    let mut process = Process::start("the Procfile's web", &mut command);
    process.wait_for_port(port);
    (process, port)
}

fn the_procfile_s_line_serves_on_the_port_of_the_platform(_: &Tools) {
    let (process, port) = start(Some(LESSON));
    let mut visitor = Visitor::new();
    assert!(visitor.get(&format!("http://127.0.0.1:{port}/")).body.contains("Three questions, kept warm."));
    assert!(process.printed().contains(&format!("http://0.0.0.0:{port}")), "{}", process.printed());
    assert_eq!(visitor.get(&format!("http://127.0.0.1:{port}/healthz")).body, "ok");
    let answer =
        visitor.submit(&format!("http://127.0.0.1:{port}/page2"), &[("firstName", "Ada"), ("lastName", "Lovelace")]);
    let cookie = answer.only_cookie();
    assert!(
        cookie.starts_with("__Host-Http-session=") && cookie.contains("; Secure"),
        "beyond this machine only over HTTPS: {cookie}"
    );
    assert!(!process.printed().contains(LESSON), "the log does not say the secret");
}

fn it_stops_cleanly_when_the_platform_says_so(_: &Tools) {
    let (process, port) = start(Some(LESSON));
    assert_eq!(Visitor::new().get(&format!("http://127.0.0.1:{port}/page1")).status, 200);
    let (status, printed) = process.terminate();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("Stopped."), "{printed}");
}

fn without_a_secret_it_starts_and_says_so(_: &Tools) {
    let (process, port) = start(None);
    assert_eq!(Visitor::new().get(&format!("http://127.0.0.1:{port}/")).status, 200);
    assert!(process.printed().contains("SECRET_KEY is not set"), "{}", process.printed());
}
