//! The example as a platform starts and stops it.

use std::{fs, path::Path, process::Command};

use super::{LESSON, OWN};
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
        without_a_secret_of_its_own_it_does_not_start,
    ],
};

fn start(secret: Option<&str>) -> (Process, u16) {
    let port = free_port();
    let mut process = Process::start("the Procfile's web", &mut command(port, secret));
    process.wait_for_port(port);
    (process, port)
}

/// The Procfile's line, with the program that was built beside this one.
fn command(port: u16, secret: Option<&str>) -> Command {
    let procfile = fs::read_to_string(root().join("Procfile")).expect("there is a Procfile");
    let line = procfile.lines().find_map(|line| line.strip_prefix("web:")).expect("the Procfile has a line for web");
    assert!(line.contains("./target/release/questions"), "{line}");
    let line = line.replace("./target/release/questions", "\"$PROGRAM\"");
    let mut command = plain_command(Path::new("/bin/sh"));
    command.arg("-c").arg(format!("exec env {line}")).env("PROGRAM", questions::binary()).env("PORT", port.to_string());
    if let Some(secret) = secret {
        command.env("SECRET_KEY", secret);
    }
    command
}

fn the_procfile_s_line_serves_on_the_port_of_the_platform(_: &Tools) {
    let (process, port) = start(Some(OWN));
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
    assert!(!process.printed().contains(OWN), "the log does not say the secret");
}

fn it_stops_cleanly_when_the_platform_says_so(_: &Tools) {
    let (process, port) = start(Some(OWN));
    assert_eq!(Visitor::new().get(&format!("http://127.0.0.1:{port}/page1")).status, 200);
    let (status, printed) = process.terminate();
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("Stopped."), "{printed}");
}

fn without_a_secret_of_its_own_it_does_not_start(_: &Tools) {
    for (secret, why) in
        [(None, "SECRET_KEY is not set"), (Some(LESSON), "which everybody knows, and others can reach")]
    {
        let output = command(free_port(), secret).output().expect("a shell runs the Procfile's line");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(why) && said.contains("export SECRET_KEY=dewar_"), "{said}");
    }
}
