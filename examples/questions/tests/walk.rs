//! The example as a person meets it: the program itself, over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

const OWN_SECRET: &str = "kq3v8zs0d1jw7m2x";

struct Questions {
    program: Child,
    port: u16,
    cookie: String,
}

impl Questions {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_questions"))
            .env_remove("SECRET_KEY")
            .env_remove("SECRET_KEY_FALLBACKS")
            .env_remove("SESSION_DIALECT")
            .env_remove("SESSION_STORE")
            .env("PORT", "0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
        let port = address.split_whitespace().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { program, port, cookie: String::new() }
    }

    fn send(&mut self, head: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (cookie, length) = (&self.cookie, form.len());
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        for cookie in answer.lines().filter_map(|line| line.strip_prefix("set-cookie: ")) {
            let over = cookie.contains("Max-Age=0") || cookie.contains("01 Jan 1970");
            let pair = cookie.split(';').next().unwrap();
            let name = &pair[..=pair.find('=').unwrap()];
            let mut jar: Vec<&str> =
                self.cookie.split("; ").filter(|kept| !kept.is_empty() && !kept.starts_with(name)).collect();
            jar.extend((!over).then_some(pair));
            self.cookie = jar.join("; ");
        }
        answer
    }

    /// Sends a form and follows the redirect that answers it.
    fn answer(&mut self, path: &str, form: &str) -> String {
        let answer = self.send(&format!("POST {path}"), form);
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        let location = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned();
        self.send(&format!("GET {location}"), "")
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A folder of one test's own, gone with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("questions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut visitor = Questions::start(&[("SESSION_STORE", &format!("redis://{nowhere}"))]);
    let answer = visitor.send("POST /page2", "firstName=Ada&lastName=Lovelace");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("Out of reach, for a moment.") && visitor.cookie.is_empty(), "{answer}");
}

#[test]
fn a_plain_get_starts_over_too_as_in_the_lesson() {
    let mut visitor = Questions::start(&[]);
    visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    assert!(visitor.send("GET /startOver", "").contains("location: /\r\n"));
    assert!(visitor.cookie.is_empty());
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
fn a_page_that_does_not_exist_is_a_friendly_404() {
    let answer = Questions::start(&[]).send("GET /nowhere", "");
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("There is nothing here."), "{answer}");
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
fn the_pages_of_another_such_application_work_unchanged() {
    let own = Folder::new("pages");
    let folder = &own.0;
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::create_dir_all(folder.join("static")).unwrap();
    std::fs::write(folder.join("static/style.css"), "theirs {}").unwrap();
    let page = "<link href=\"{{ url_for('static', filename='style.css') }}\">{% if 'firstName' in session %}{{ session['firstName'] }}{% endif %}\
                <a href=\"{{ url_for('startOver') }}\"></a><form action=\"{{ url_for('renderPage2') }}\"></form>";
    for name in ["main", "page1", "page2", "page3"] {
        std::fs::write(folder.join("templates").join(format!("{name}.html")), page).unwrap();
    }
    let templates = folder.join("templates");
    let mut visitor = Questions::start(&[("TEMPLATES_DIR", templates.to_str().unwrap())]);
    let shown = visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    assert!(shown.contains("href=\"/static/style.css\"") && shown.contains("Ada<a href=\"/startOver\">"), "{shown}");
    assert!(visitor.send("GET /static/style.css", "").contains("theirs {}"));
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
        (&[("SESSION_DIALECT", "cobol")], "flask"),
        (&[("SESSION_STORE", "cobol:")], "SESSION_STORE: a store's URL begins with memory:, sqlite: or redis:"),
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

#[cfg(unix)]
#[test]
fn sigterm_ends_it_cleanly() {
    let mut visitor = Questions::start(&[("HOST", "0.0.0.0"), ("SECRET_KEY", OWN_SECRET)]);
    let killed = Command::new("kill").args(["-TERM", &visitor.program.id().to_string()]).status().unwrap();
    assert!(killed.success() && visitor.program.wait().unwrap().success());
}
