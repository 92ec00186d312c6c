//! The program itself, over HTTP.
#![allow(dead_code, unreachable_pub)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

/// The program, as long as a test lasts, and somebody with a browser.
pub struct Questions {
    pub program: Child,
    port: u16,
    pub cookie: String,
    /// Sent with every request: each a line, with its end.
    pub headers: String,
}

impl Questions {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_questions"))
            .env_remove("SECRET_KEY")
            .env_remove("SECRET_KEY_FALLBACKS")
            .env_remove("SESSION_DIALECT")
            .env_remove("SESSION_OPTIONS")
            .env_remove("SESSION_COOKIE")
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
        Self { program, port, cookie: String::new(), headers: String::new() }
    }

    pub fn send(&mut self, head: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (cookie, headers, length) = (&self.cookie, &self.headers, form.len());
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n{headers}\
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
    pub fn answer(&mut self, path: &str, form: &str) -> String {
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
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
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
