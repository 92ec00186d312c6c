//! A framework's session interface without a server: `differential.py` in `live/flask_app` and `live/django_app`, asked over a pipe, its clock standing still.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use dewar::Value;

use crate::{
    process::Process,
    tools::{PYTHON, Tool, Tools, root},
    typed,
};

/// When it is, for whoever is asked.
pub(crate) const NOW: u64 = 1_763_000_000;

/// The longest that a line of questions may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Oracle {
    process: Process,
    answers: Receiver<String>,
}

/// What one of the two makes of a `Cookie` header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Opened {
    /// This session, as typed JSON; an empty one where the cookie was refused.
    Session(String),
    /// An exception: the visitor sees a 500.
    Broken(String),
}

impl Opened {
    pub(crate) fn session(&self) -> &str {
        match self {
            Self::Session(session) => session,
            Self::Broken(exception) => panic!("{exception}"),
        }
    }
}

/// What Flask wrote.
pub(crate) struct Written {
    pub(crate) cookie: String,
    /// The JSON in it.
    pub(crate) text: String,
}

impl Oracle {
    pub(crate) fn start(tools: &Tools, secret: &str) -> Self {
        Self::of(tools, &PYTHON, "live/flask_app/differential.py", secret)
    }

    /// Of this release of Django.
    pub(crate) fn django(tools: &Tools, release: &Tool, secret: &str) -> Self {
        Self::of(tools, release, "live/django_app/differential.py", secret)
    }

    fn of(tools: &Tools, python: &Tool, program: &str, secret: &str) -> Self {
        let mut command = tools.command(python);
        command.arg(root().join(program)).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start_with_pipes("differential.py", command.stdin(Stdio::piped()));
        let output = process.child.stdout.take().expect("its output is piped");
        let (sender, answers) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut oracle = Self { process, answers };
        oracle.send(&format!(r#"{{"secret": {}, "fallbacks": [], "now": {NOW}}}"#, quoted(secret)));
        oracle
    }

    /// Asks several questions at once, each a JSON object.
    pub(crate) fn ask(&mut self, questions: &[String]) -> Vec<Value> {
        self.send(&format!("[{}]", questions.join(",")));
        let line = self
            .answers
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("the framework gave no answer to {questions:.200?}"));
        match typed::json(&line) {
            Value::List(answers) => answers,
            other => panic!("not a list of answers: {other:?}"),
        }
    }

    fn send(&mut self, line: &str) {
        let input = self.process.child.stdin.as_mut().expect("its input is piped");
        input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).expect("differential.py listens");
    }
}

/// The question how Flask would write this session.
pub(crate) fn to_write(session: &str) -> String {
    format!(r#"{{"op": "write", "session": {session}}}"#)
}

/// The question what Flask would make of this `Cookie` header.
pub(crate) fn to_read(header: &str) -> String {
    format!(r#"{{"op": "read", "header": {}}}"#, quoted(header))
}

pub(crate) fn written(answer: &Value) -> Written {
    Written { cookie: member(answer, "cookie"), text: member(answer, "text") }
}

/// What Flask opened. The name of an entry with a lone surrogate shows as `Session::keys` shows it.
pub(crate) fn opened(answer: &Value) -> Opened {
    match answer.get("session").map(typed::from_typed) {
        Some(Value::Map(entries)) => {
            let shown = entries.into_iter().map(|(name, value)| (shown(name), value)).collect();
            Opened::Session(typed::text(&Value::Map(shown)))
        }
        Some(other) => panic!("not a session: {other:?}"),
        None => Opened::Broken(member(answer, "broken")),
    }
}

/// Each lone surrogate is three bytes that are no UTF-8.
fn shown(name: Value) -> Value {
    let Value::Surrogates(units) = name else { return name };
    let letters = char::decode_utf16(units).map(|unit| unit.map_or_else(|_| "\u{fffd}".repeat(3), String::from));
    Value::Text(letters.collect())
}

fn member(answer: &Value, name: &str) -> String {
    let member = answer.get(name).and_then(Value::as_str);
    member.unwrap_or_else(|| panic!("no {name:?} in the answer {answer:?}")).to_owned()
}

/// A JSON text.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}
