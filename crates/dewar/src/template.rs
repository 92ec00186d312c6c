//! [`Templates`]: pages of minijinja (Jinja2's language) with the session already in them.
//!
//! In a page, `session` works as it does in Flask: `'firstName' in session`, `session['firstName']`,
//! `session.firstName`, `session.get('firstName', 'stranger')`, `session.items()`, `{% for name in session %}`. So does
//! `get_flashed_messages(with_categories=true, category_filter=['error'])`.
//!
//! `session.principal()` is the user whom the session belongs to, and `none` where nobody is logged in. With parentheses: Jinja has one look-up for
//! `session.principal` and `session['principal']`, which is the entry of that name. If the user stood in for a missing entry, a page that asks
//! `session.principal == 'admin'` would believe whatever an application let its visitors insert under a name of their choice.
//!
//! A page looks the same, whatever format the session is in: a date, a UUID or a decimal is its text. The names of a map are text, as in Flask.
//!
//! Other template engines take the session as a field: [`Session`] is cheap to clone, and askama, for example, calls its methods:
//!
//! ```
//! # mod askama { pub trait Template {} }
//! # use askama::Template;
//! use dewar::Session;
//!
//! // #[derive(askama::Template)]
//! // #[template(source = r#"{% if let Some(name) = session.get::<String>("firstName") %}{{ name }}{% endif %}"#, ext = "html")]
//! struct Page {
//!     session: Session,
//! }
//! # impl Template for Page {}
//! ```

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use minijinja::{
    Environment, ErrorKind, State,
    value::{Enumerator, Kwargs, Object, ObjectRepr, Serde, Value as Jinja, from_args},
};
use serde::Serialize;

use crate::{
    error::{Error, Excerpt, Kind},
    flash::Flash,
    session::Session,
    telemetry,
    value::Value,
};

/// Renders pages with the session already in them: an extractor for axum's handlers.
///
/// Name the folder once, `SessionLayer::from_env()?.templates("templates")`, and take it as an argument:
///
/// ```
/// use axum::response::Html;
/// use dewar::{Error, Templates};
/// use serde_json::json;
///
/// async fn page(templates: Templates) -> Result<Html<String>, Error> {
///     templates.render("page.html", json!({ "title": "Welcome" }))
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(page));
/// ```
///
/// What stands in the page's data under the names `session` and `get_flashed_messages` gives way to the session.
/// HTML is escaped. In a debug build the folder is read anew for every page; a release build keeps what it has read.
#[derive(Clone)]
pub struct Templates {
    engine: Engine,
    session: Session,
}

impl Templates {
    pub(crate) fn new(engine: Engine, session: Session) -> Self {
        Self { engine, session }
    }

    /// Renders a page with this data (`()` for none): as a `String`, an axum `Html<String>`, or
    /// whatever else is made from a `String`.
    ///
    /// # Errors
    ///
    /// Where there is no such template, or it fails. As a response the error is a 500; the log has the
    /// template's name and line, and in a debug build so has the page.
    pub fn render<R: From<String>>(&self, name: &str, data: impl Serialize) -> Result<R, Error> {
        let page = Page {
            session: Jinja::from_object(Entries(self.session.clone())),
            flashes: Jinja::from_object(Flashes { session: self.session.clone(), taken: OnceLock::new() }),
            data: Jinja::from(Serde(data)),
        };
        let environment = self.engine.environment();
        let text = environment.get_template(name).and_then(|template| template.render(Jinja::from_object(page)));
        text.map(R::from).map_err(|error| self.engine.0.failed(name, &error))
    }

    /// The session that the pages show.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Where pages come from: a folder, or an environment of minijinja of your own.
pub struct Pages {
    environment: Environment<'static>,
    folder: Option<PathBuf>,
}

impl Pages {
    /// # Errors
    ///
    /// Where the folder is not there.
    fn check(&self) -> Result<(), Error> {
        let Some(folder) = self.folder.as_deref().filter(|folder| !folder.is_dir()) else { return Ok(()) };
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let whole = whole.display();
        let mut why = format!(".templates({folder:?}) is refused: ");
        why += &match folder.exists() {
            true => format!("{whole} is no folder; name one"),
            false if folder.is_relative() => format!(
                "there is no folder {whole}. Make it, start the program beside it, or give the whole path, such as \
                 concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/templates\")"
            ),
            false => "there is no such folder; make it".to_owned(),
        };
        Err(Error::setting(why))
    }

    /// Which template failed, where and why.
    fn failed(&self, name: &str, error: &minijinja::Error) -> Error {
        // A name may come from a request: it makes no second line in a log.
        let place = error.name().unwrap_or(name).escape_debug();
        let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
        let mut why = said(error);
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let cause_said = cause.downcast_ref().map_or_else(|| cause.to_string(), said);
            why = format!("{why}: {cause_said}");
            source = cause.source();
        }
        if error.kind() == ErrorKind::TemplateNotFound
            && let Some(folder) = &self.folder
        {
            why = format!("{why}. {}", contents(folder));
        }
        let source = error.template_source().unwrap_or_default();
        let excerpt = Excerpt::new(why, source, error.line().unwrap_or_default());
        Error::new(Kind::Template, format!("template {place}{line}")).because(excerpt)
    }
}

/// What an error of minijinja's says, without the values that two kinds of them hold: a page may include what an entry names, or call by it.
fn said(error: &minijinja::Error) -> String {
    let stands_there = |name: &str| {
        let line = error.template_source().and_then(|source| source.lines().nth(error.line()?.checked_sub(1)?));
        line.is_some_and(|line| line.contains(name))
    };
    let quoted = error.detail().filter(|detail| detail.matches('"').count() == 2);
    let quoted = quoted.and_then(|detail| detail.split('"').nth(1));
    match error.kind() {
        ErrorKind::TooManyArguments => error.kind().to_string(),
        ErrorKind::TemplateNotFound if error.template_source().is_some() && !quoted.is_some_and(stands_there) => {
            format!("{}: the template has the name from a value", error.kind())
        }
        _ => error.to_string().replace(char::is_control, " "),
    }
}

/// What is in a folder, for whoever named a file that is not.
fn contents(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let folder = folder.display();
    match (names.join(", "), more) {
        (names, _) if names.is_empty() => format!("The folder {folder} has nothing in it"),
        (names, 0) => format!("The folder {folder} has {names}"),
        (names, more) => format!("The folder {folder} has {names}, and {more} more"),
    }
}

/// How many names of a folder's files are shown.
const SHOWN: usize = 20;

impl From<&str> for Pages {
    fn from(folder: &str) -> Self {
        PathBuf::from(folder).into()
    }
}

impl From<PathBuf> for Pages {
    fn from(folder: PathBuf) -> Self {
        let mut environment = Environment::new();
        environment.set_loader(minijinja::path_loader(&folder));
        Self { environment, folder: Some(folder) }
    }
}

impl From<Environment<'static>> for Pages {
    fn from(environment: Environment<'static>) -> Self {
        Self { environment, folder: None }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The pages that all requests share.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Arc<Pages>);

impl Engine {
    pub(crate) fn new(pages: Pages) -> Self {
        Self(Arc::new(pages))
    }

    /// # Errors
    ///
    /// Where pages were to come from a folder that is not there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.check()
    }

    /// In development a copy, which reads files into itself: a changed file shows at the next request.
    fn environment(&self) -> Cow<'_, Environment<'static>> {
        if cfg!(debug_assertions) { Cow::Owned(self.0.environment.clone()) } else { Cow::Borrowed(&self.0.environment) }
    }
}

/// What a page sees: the session, and the data behind it.
#[derive(Debug)]
struct Page {
    session: Jinja,
    flashes: Jinja,
    data: Jinja,
}

impl Object for Page {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        match key {
            "session" => Some(self.session.clone()),
            "get_flashed_messages" => Some(self.flashes.clone()),
            _ => self.data.get_attr(key).ok().filter(|value| !value.is_undefined()),
        }
    }
}

/// The session as a dictionary of Jinja's.
#[derive(Debug)]
struct Entries(Session);

impl Entries {
    fn entry(&self, name: &str) -> Option<Jinja> {
        self.0.contains(name).then(|| self.0.get::<Value>(name).map_or(Jinja::from(()), |value| jinja(&value)))
    }
}

impl Object for Entries {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        let entry = self.entry(key);
        if entry.is_none() && key == "principal" && self.0.principal().is_some() {
            telemetry::principal_is_no_entry();
        }
        entry
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().into_iter().map(Jinja::from).collect())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Jinja],
    ) -> Result<Jinja, minijinja::Error> {
        match method {
            "get" => {
                let (name, default): (&str, Option<Jinja>) = from_args(arguments)?;
                Ok(self.entry(name).or(default).unwrap_or(Jinja::from(())))
            }
            "principal" => {
                let () = from_args(arguments)?;
                Ok(self.0.principal().map_or(Jinja::from(()), Jinja::from))
            }
            "items" => {
                let () = from_args(arguments)?;
                Ok(self.0.iter().map(|(name, value)| Jinja::from(vec![Jinja::from(name), jinja(&value)])).collect())
            }
            "keys" => {
                let () = from_args(arguments)?;
                Ok(self.0.keys().into_iter().collect())
            }
            "values" => {
                let () = from_args(arguments)?;
                Ok(self.0.iter().map(|(_, value)| jinja(&value)).collect())
            }
            _ => Err(minijinja::Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// `get_flashed_messages`. Asked twice by one page, it answers the same, as Flask's.
#[derive(Debug)]
struct Flashes {
    session: Session,
    taken: OnceLock<Vec<Flash>>,
}

impl Object for Flashes {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, arguments: &[Jinja]) -> Result<Jinja, minijinja::Error> {
        let (with_categories, category_filter, named): (Option<bool>, Option<Vec<String>>, Kwargs) =
            from_args(arguments)?;
        let with_categories = named.get::<Option<bool>>("with_categories")?.or(with_categories).unwrap_or(false);
        let filter = named.get::<Option<Vec<String>>>("category_filter")?.or(category_filter).unwrap_or_default();
        named.assert_all_used()?;
        let flashes = self.taken.get_or_init(|| self.session.take_flashes());
        let wanted = flashes.iter().filter(|flash| filter.is_empty() || filter.contains(&flash.category));
        Ok(wanted
            .map(|flash| {
                let message = jinja(&flash.message);
                if with_categories { Jinja::from(vec![Jinja::from(flash.category.as_str()), message]) } else { message }
            })
            .collect())
    }
}

/// Markup stays markup; what Jinja has no word for is shown as text.
fn jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(value) => Jinja::from(*value),
        Value::Integer(value) => Jinja::from(*value),
        Value::Float(value) => Jinja::from(*value),
        Value::Text(value) | Value::Atom(value) => Jinja::from(value.as_str()),
        Value::Markup(value) => Jinja::from_safe_string(value.clone()),
        Value::Bytes(value) => Jinja::from_bytes(value.clone()),
        Value::List(values) | Value::Tuple(values) => values.iter().map(jinja).collect(),
        Value::Map(pairs) => Jinja::from_pairs(pairs.iter().map(|(name, value)| (name_of(name), jinja(value)))),
        Value::BigInteger(value) => number(value.as_str()),
        Value::Uuid(value) => Jinja::from(value.to_string()),
        Value::DateTime(value) => Jinja::from(value.to_string()),
        Value::Surrogates(units) => Jinja::from(String::from_utf16_lossy(units)),
    }
}

/// Jinja counts with what fits into 128 bits; a longer integer is shown as text.
fn number(digits: &str) -> Jinja {
    let fits = digits.parse::<i128>().map(Jinja::from);
    fits.or_else(|_| digits.parse::<u128>().map(Jinja::from)).unwrap_or_else(|_| Jinja::from(digits))
}

/// The name of a map's member as JSON spells it, so that a page finds it under one name in every format.
fn name_of(name: &Value) -> String {
    match name {
        Value::Bool(name) => name.to_string(),
        other => jinja(other).to_string(),
    }
}
