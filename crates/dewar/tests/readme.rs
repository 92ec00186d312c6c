//! The README's program, pasted into a crate outside the workspace: it compiles, runs, and walks ask, remember, start over.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const README: &str = include_str!("../../../README.md");

/// The first code block of a language, as a reader would copy it.
fn block(language: &str) -> &'static str {
    let start = README.find(&format!("```{language}\n")).unwrap() + language.len() + 4;
    let length = README[start..].find("\n```").unwrap();
    &README[start..start + length]
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn request(port: u16, head: &str, cookie: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn cookie(answer: &str) -> Option<String> {
    let line = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "))?;
    Some(line.split(';').next().unwrap().to_owned())
}

#[test]
fn the_program_of_the_readme_asks_remembers_and_starts_over() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = block("rust");
    assert!(program.lines().count() <= 30, "about 25 lines, as promised");
    fs::create_dir_all(folder.path().join("src")).unwrap();
    fs::create_dir_all(folder.path().join("templates")).unwrap();
    fs::write(folder.path().join("src/main.rs"), program.replace("127.0.0.1:5000", &format!("127.0.0.1:{port}")))
        .unwrap();
    fs::write(folder.path().join("templates/page.html"), block("html")).unwrap();
    fs::copy(workspace.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let manifest = format!(
        "[package]\nname = \"ask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         dewar = {{ path = {:?}, features = [\"templates\"] }}\naxum = \"0.8\"\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\ntokio = {{ version = \"1\", features = [\"full\"] }}\n\
         tracing-subscriber = \"0.3\"\n\
         [profile.dev]\ndebug = false\n",
        workspace.join("crates/dewar")
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();

    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--offline", "--quiet"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", workspace.join("target/readme"))
        .status()
        .unwrap();
    assert!(built.success(), "the README's program does not compile");

    let program = workspace.join("target/readme/debug/ask");
    let refused = Command::new(&program).current_dir(folder.path()).env_remove("SECRET_KEY").output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("export SECRET_KEY=dewar_"), "{said}");

    let mut running = Running(
        Command::new(&program)
            .current_dir(folder.path())
            .env("SECRET_KEY", "w98fw9ef8hwe98fhwef")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = running.0.try_wait().unwrap() {
            let said: Vec<_> = BufReader::new(running.0.stderr.take().unwrap()).lines().collect();
            panic!("it ended: {status}, {said:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it does not listen");
        thread::sleep(Duration::from_millis(50));
    }

    let asked = request(port, "GET /", "", "");
    assert!(asked.contains("<form method=\"post\">") && cookie(&asked).is_none(), "{asked}");
    let answered = request(port, "POST /", "", "firstName=%3CAda%3E");
    assert!(answered.starts_with("HTTP/1.1 303"), "{answered}");
    let remembered = cookie(&answered).unwrap();
    let greeted = request(port, "GET /", &remembered, "");
    assert!(greeted.contains("Hello, &lt;Ada&gt;."), "{greeted}");
    let over = request(port, "GET /startOver", &remembered, "");
    assert!(over.contains("set-cookie: __Host-Http-session=; ") && over.contains("Max-Age=0"), "{over}");

    fs::write(folder.path().join("templates/page.html"), "one\n{% if %}").unwrap();
    let broken = request(port, "GET /", "", "");
    assert!(broken.starts_with("HTTP/1.1 500") && broken.contains("template page.html, line 2"), "{broken}");
    running.0.kill().unwrap();
    let mut log = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("template page.html, line 2: syntax error"), "the terminal says it, too: {log}");
    assert!(log.contains("SECRET_KEY is the one of dewar's examples, which everybody knows"), "{log}");
    assert!(!log.contains("dewar_"), "no secret that somebody could use stands in a log: {log}");

    fs::remove_dir_all(folder.path().join("templates")).unwrap();
    let refused = Command::new(&program).current_dir(folder.path()).env("SECRET_KEY", "w98fw9ef8hwe98fhwef").output();
    let said = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(said.contains(".templates(\"templates\") is refused: there is no folder"), "{said}");
}
