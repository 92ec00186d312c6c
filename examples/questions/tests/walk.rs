//! The example as a person meets it: the program itself, over HTTP.

mod support;

use std::process::Command;

use support::{Folder, Questions};

const OWN_SECRET: &str = "kq3v8zs0d1jw7m2x";

fn walk(mut visitor: Questions) {
    let welcome = visitor.send("GET /", "");
    assert!(welcome.contains("Nothing yet.") && visitor.cookie.is_empty(), "{welcome}");
    assert!(visitor.send("GET /page1", "").contains("name=\"firstName\""));
    let page2 = visitor.answer("/page2", "firstName=Ada+%3CKing%3E&lastName=Lovelace");
    assert!(page2.contains("name=\"favoriteColor\""), "{page2}");
    let page3 = visitor.answer("/page3", "favoriteColor=moss+green");
    for shown in ["Thank you, Ada &lt;King&gt;: all three", "Lovelace", "moss green"] {
        assert!(page3.contains(shown), "{shown}: {page3}");
    }
    assert!(!visitor.send("GET /page3", "").contains("Thank you"), "a flash is shown once");
    for path in ["/", "/page1", "/page2", "/nowhere"] {
        assert!(visitor.send(&format!("GET {path}"), "").contains("<bdi>Lovelace</bdi>"), "the footer of {path}");
    }
    let again = visitor.send("GET /page3", "");
    assert_eq!(again.matches("moss green").count(), 1, "where the answers are the page, the footer says none: {again}");
    let home = visitor.answer("/startOver", "");
    assert!(home.contains("Nothing yet.") && visitor.cookie.is_empty(), "{home}");
}

#[test]
fn it_asks_remembers_and_starts_over_in_every_dialect() {
    for dialect in ["sealed", "flask", "express"] {
        walk(Questions::start(&[("SESSION_DIALECT", dialect), ("SECRET_KEY", "w98fw9ef8hwe98fhwef")]));
    }
    walk(Questions::start(&[("SESSION_DIALECT", "express-session"), ("SESSION_STORE", "memory:")]));
    walk(Questions::start(&[]));
}

#[test]
fn it_asks_remembers_and_starts_over_on_every_store() {
    let folder = Folder::new("stores");
    for store in ["memory:", &format!("sqlite:{}", folder.0.join("sessions.db").display())] {
        walk(Questions::start(&[("SESSION_STORE", store), ("SECRET_KEY", "w98fw9ef8hwe98fhwef")]));
    }
}

#[test]
fn on_a_store_starting_over_is_final_and_a_restart_is_not() {
    let folder = Folder::new("final");
    let store = format!("sqlite:{}", folder.0.join("sessions.db").display());
    let settings = [("SESSION_STORE", store.as_str()), ("SECRET_KEY", "w98fw9ef8hwe98fhwef")];
    let mut before = Questions::start(&settings);
    before.answer("/page2", "firstName=Ada&lastName=Lovelace");
    let cookie = before.cookie.clone();
    drop(before);

    let mut after = Questions::start(&settings);
    after.cookie = cookie.clone();
    assert!(after.send("GET /page3", "").contains("Lovelace"), "a session outlives the process");
    after.answer("/startOver", "");
    after.cookie = cookie;
    assert!(!after.send("GET /page3", "").contains("Lovelace"), "a copy of the cookie is worth nothing");
}

#[test]
fn moving_to_a_store_keeps_what_was_in_the_cookie() {
    let secret = ("SECRET_KEY", "w98fw9ef8hwe98fhwef");
    let mut before = Questions::start(&[secret]);
    before.answer("/page2", "firstName=Ada&lastName=Lovelace");
    let mut after = Questions::start(&[secret, ("SESSION_STORE", "memory:")]);
    after.cookie = before.cookie.clone();
    assert!(after.send("GET /page3", "").contains("Lovelace"));
    assert!(after.cookie.len() < before.cookie.len(), "now the cookie is only an id: {}", after.cookie);
}

#[test]
fn a_store_that_is_down_is_a_friendly_503() {
    let (mut visitor, folder) = on_sqlite("down");
    drop(folder);
    let answer = visitor.send("POST /page2", "firstName=Ada&lastName=Lovelace");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("Out of reach, for a moment.") && visitor.cookie.is_empty(), "{answer}");
}

#[test]
fn an_empty_answer_is_asked_again_and_a_good_one_beside_it_is_kept() {
    let mut visitor = Questions::start(&[]);
    let again = visitor.answer("/page2", "firstName=Ada&lastName=+++");
    assert!(again.contains("Please fill in your last name.") && again.contains("name=\"firstName\""), "{again}");
    assert!(again.contains("<bdi>Ada</bdi>"));
    let again = visitor.answer("/page3", "");
    assert!(again.contains("Please fill in your favourite colour."), "{again}");
    let long = "x".repeat(101);
    let again = visitor.answer("/page3", &format!("favoriteColor={long}"));
    assert!(again.contains("at most 100 characters"), "{again}");
}

#[test]
fn what_cannot_be_served_is_a_friendly_page() {
    let mut visitor = Questions::start(&[]);
    for (head, status, said) in [
        ("GET /nowhere", 404, "There is nothing here."),
        ("GET /static/nowhere", 404, "There is nothing here."),
        ("POST /page1", 405, "Not this way."),
        ("POST /page2", 422, "That could not be read."),
    ] {
        let answer = visitor.send(head, "firstName=two&firstName=answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(answer.contains("text/html") && answer.contains(said), "{head}: {answer}");
    }
}

#[test]
fn a_browser_that_asks_for_an_icon_gets_one() {
    let mut visitor = Questions::start(&[]);
    let answer = visitor.send("GET /favicon.ico", "");
    assert!(answer.starts_with("HTTP/1.1 308") && !answer.contains("no-store"), "{answer}");
    assert!(answer.contains("\r\nlocation: /static/favicon.svg\r\n"), "{answer}");
    assert!(visitor.send("GET /static/favicon.svg", "").contains("content-type: image/svg+xml"));
}

#[test]
fn a_health_check_says_whether_the_store_can_be_reached() {
    for settings in [&[][..], &[("SESSION_STORE", "memory:")]] {
        let answer = Questions::start(settings).send("GET /healthz", "");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"), "{answer}");
        assert!(answer.contains("no-store") && !answer.contains("set-cookie"), "{answer}");
    }
    let (mut visitor, folder) = on_sqlite("health");
    assert!(visitor.send("GET /healthz", "").starts_with("HTTP/1.1 200"));
    drop(folder);
    let answer = visitor.send("GET /healthz", "");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn it_does_not_start_where_its_store_is_not_there() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_questions"));
    let output = command.env_remove("SECRET_KEY").env("SESSION_STORE", format!("redis://{nowhere}")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("error: SESSION_STORE: session store: redis"), "{error}");
}

/// Sessions in a file, in a folder that a test may remove.
fn on_sqlite(name: &str) -> (Questions, Folder) {
    let folder = Folder::new(name);
    let file = folder.0.join("sessions.db");
    (Questions::start(&[("SESSION_STORE", &format!("sqlite:{}", file.display()))]), folder)
}

#[test]
fn https_only_is_kept_where_the_address_is_not_a_loopback_one() {
    let mut visitor = Questions::start(&[("HOST", "0.0.0.0"), ("SECRET_KEY", OWN_SECRET)]);
    let answer = visitor.send("POST /page2", "firstName=Ada&lastName=Lovelace");
    assert!(
        answer.contains("set-cookie: __Host-Http-session=") && answer.contains("; Secure; HttpOnly; SameSite=Lax"),
        "{answer}"
    );
}

#[test]
fn a_wrong_setting_is_refused_with_what_to_write_instead() {
    let store = ("SESSION_STORE", "memory:");
    for (settings, said) in [
        (&[("SECRET_KEY", "short")][..], "16 is the least"),
        (&[("HOST", "0.0.0.0")], "SECRET_KEY is not set. A good one, made just now:"),
        (
            &[("HOST", "192.0.2.1"), ("SECRET_KEY", "w98fw9ef8hwe98fhwef")],
            "which everybody knows, and others can reach",
        ),
        (&[("TEMPLATES_DIR", "nowhere")], "set TEMPLATES_DIR"),
        (&[("PORT", "many")], "PORT"),
        (&[("SESSION_DIALECT", "cobol")], "there is no dialect \"cobol\"; there are sealed, opaque, flask, "),
        (
            &[("SESSION_DIALECT", "flask"), ("SESSION_OPTIONS", "salt=x")],
            "SESSION_OPTIONS: salt: Flask has no option of this name; it has comp",
        ),
        (&[("SESSION_OPTIONS", "digest=sha1")], "set SESSION_DIALECT, too"),
        (&[("SESSION_DIALECT", "express-session")], "set SESSION_STORE too"),
        (&[("SESSION_COOKIE", "a b")], "no cookie name"),
        (&[("SESSION_STORE_FORMER", "memory:")], "set SESSION_STORE, too"),
        (
            &[("SECRET_KEY", "w98fw9ef8hwe98fhwef"), ("SECRET_KEY_FALLBACKS", "short")],
            "SECRET_KEY_FALLBACKS, one of them: ",
        ),
        (&[("SESSION_STORE", "cobol:")], "SESSION_STORE: a store's address begins with memory:, sqlite:, postgres:, "),
        (&[("SESSION_STORE", "sqlite:")], "sqlite:sessions.db"),
        (&[store, ("SESSION_DIALECT", "flask")], "leave out SESSION_DIALECT to use the store"),
        (&[store, ("SESSION_DIALECT", "sealed")], "or SESSION_STORE to use the cookie"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_questions"));
        let output = command.env_remove("SECRET_KEY").envs(settings.iter().copied()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{settings:?}: {error}");
    }
}

#[test]
fn the_environment_chooses_the_dialect_its_options_and_the_cookie() {
    let secret = ("SECRET_KEY", "w98fw9ef8hwe98fhwef");
    for options in ["", "digest=sha256", "passport=false,digest=sha512"] {
        let chosen =
            [secret, ("SESSION_DIALECT", "express"), ("SESSION_COOKIE", "visit"), ("SESSION_OPTIONS", options)];
        let answer = Questions::start(&chosen).send("POST /page2", "firstName=Ada&lastName=Lovelace");
        let signature =
            answer.lines().find_map(|line| line.strip_prefix("set-cookie: visit.sig=")).expect("a signature");
        let length = signature.split(';').next().unwrap().len();
        assert_eq!(
            length,
            if options.is_empty() {
                27
            } else if options.contains("512") {
                86
            } else {
                43
            },
            "{answer}"
        );
    }
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_cleanly() {
    let mut visitor = Questions::start(&[("HOST", "0.0.0.0"), ("SECRET_KEY", OWN_SECRET)]);
    let killed = Command::new("kill").args(["-TERM", &visitor.program.id().to_string()]).status().unwrap();
    assert!(killed.success() && visitor.program.wait().unwrap().success());
}
