//! The secret from the environment: this file's only test runs its own program again with other variables.
#![allow(clippy::print_stdout)]

use std::process::{Command, Output};

use dewar::SessionLayer;

/// Not a test: what the other runs of this program do.
#[allow(clippy::print_stdout)]
#[test]
fn child() {
    if std::env::var_os("CHILD").is_none() {
        return;
    }
    match SessionLayer::from_env().and_then(|layer| layer.manager()) {
        Ok(manager) => println!("opened {}", manager.cookie_name()),
        Err(error) => println!("refused {error}"),
    }
}

fn run(variables: &[(&str, &str)]) -> String {
    let Output { stdout, .. } = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env_remove("SECRET_KEY")
        .env_remove("SECRET_KEY_FALLBACKS")
        .env("CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    String::from_utf8(stdout).unwrap()
}

#[test]
fn the_environment_gives_the_secret_and_its_errors_give_a_ready_line() {
    assert!(run(&[("SECRET_KEY", "w98fw9ef8hwe98fhwef")]).contains("opened __Host-Http-session"));
    assert!(SessionLayer::new("w98fw9ef8hwe98fhwef").is_ok(), "the lesson's secret, given in code");

    let missing = run(&[]);
    assert!(missing.contains("refused SECRET_KEY is not set."), "{missing}");
    assert!(missing.contains("    export SECRET_KEY=dewar_"), "{missing}");
    let line = missing.lines().find_map(|line| line.trim().strip_prefix("export SECRET_KEY=")).unwrap();
    assert!(run(&[("SECRET_KEY", line)]).contains("opened"), "the line that it prints works");

    assert!(run(&[("SECRET_KEY", "short")]).contains("SECRET_KEY is refused: it has 5 bytes, and 16 is the least."));
    let fallbacks = [("SECRET_KEY", line), ("SECRET_KEY_FALLBACKS", "an old secret of ours, short")];
    let refused = run(&fallbacks);
    assert!(refused.contains("SECRET_KEY_FALLBACKS is refused: of secret 2 in it, it has 5 bytes"), "{refused}");
    assert!(!refused.contains("dewar_"), "a new secret opens no cookie of before: {refused}");
    let fallbacks = [("SECRET_KEY", line), ("SECRET_KEY_FALLBACKS", "an old secret of ours, ,")];
    assert!(run(&fallbacks).contains("opened"));
}
