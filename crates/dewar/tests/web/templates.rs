//! Pages: the session in a template works as in Flask.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    routing::get,
};
use dewar::{Error, Secret, Session, SessionLayer, Templates, testing::Visitor, value::Markup};
use serde_json::json;
use std::fs;
use tower::ServiceExt;

struct Site {
    folder: tempfile::TempDir,
    layer: SessionLayer,
    app: Router,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layer = SessionLayer::new(Secret::generate()).unwrap().templates(folder.path().to_owned());
        let app = Router::new()
            .route(
                "/",
                get(async |templates: Templates| templates.render::<String>("page.html", json!({ "title": "<T>" }))),
            )
            .route(
                "/session",
                get(async |session: Session, templates: Templates| {
                    session.insert("firstName", "written before");
                    templates.render::<String>("page.html", ())
                }),
            )
            .layer(layer.clone());
        Self { folder, layer, app }
    }

    async fn page(&self, path: &str, template: &str, visitor: &mut Visitor) -> (StatusCode, String) {
        fs::write(self.folder.path().join("page.html"), template).unwrap();
        let request = Request::get(path).header("cookie", visitor.cookie()).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        visitor.receive(response.headers());
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

async fn visitor(site: &Site) -> Visitor {
    Visitor::prepared(&site.layer.manager().unwrap(), |session| {
        session.insert("firstName", "<Ada>");
        session.insert("html", Markup("<b>bold</b>".into()));
        session.insert("cart", json!({ "books": [1, 2] }));
        session.insert("items", 3);
        session.insert("id", dewar::value::Uuid::from_bytes([0xab; 16]));
        session.flash("saved");
        session.flash_as("not <saved>", "error");
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_session_is_a_dictionary_as_in_flask() {
    let site = Site::new();
    let mut visitor = visitor(&site).await;
    for (template, page) in [
        ("{% if 'firstName' in session %}{{ session['firstName'] }}{% endif %}", "&lt;Ada&gt;"),
        ("{% if 'lastName' not in session %}none{% endif %}", "none"),
        ("{{ session.firstName }}", "&lt;Ada&gt;"),
        ("{{ session.html }}", "<b>bold</b>"),
        ("{{ session.get('lastName', 'stranger') }} {{ session.get('firstName') }}", "stranger &lt;Ada&gt;"),
        ("{{ session.get('lastName') is none }}", "True"),
        ("{{ session.cart.books[1] }} {{ session.items }}", "2 3"),
        ("{% for name in session %}{{ name }} {% endfor %}", "firstName html cart items id _flashes "),
        ("{% for name, value in session.items() if name == 'items' %}{{ name }}={{ value }}{% endfor %}", "items=3"),
        ("{{ session | length }} {{ title }}", "6 &lt;T&gt;"),
        ("{{ session.id }}", "abababab-abab-abab-abab-abababababab"),
        ("{{ session.nothing }}|{{ session['nothing'] }}|", "||"),
    ] {
        assert_eq!(site.page("/", template, &mut visitor).await, (StatusCode::OK, page.into()), "{template}");
    }
}

#[tokio::test]
async fn flashed_messages_work_as_in_flask() {
    for (template, page) in [
        ("{% for m in get_flashed_messages() %}{{ m }};{% endfor %}", "saved;not &lt;saved&gt;;"),
        (
            "{% for c, m in get_flashed_messages(with_categories=true) %}{{ c }}:{{ m }};{% endfor %}",
            "message:saved;error:not &lt;saved&gt;;",
        ),
        ("{{ get_flashed_messages(category_filter=['error']) | length }}", "1"),
        ("{% for c, m in get_flashed_messages(true, ['message']) %}{{ c }}{{ m }}{% endfor %}", "messagesaved"),
        ("{{ get_flashed_messages() | length }}{{ get_flashed_messages() | length }}", "22"),
    ] {
        let site = Site::new();
        let mut visitor = visitor(&site).await;
        assert_eq!(site.page("/", template, &mut visitor).await, (StatusCode::OK, page.into()), "{template}");
        assert_eq!(site.page("/", template, &mut visitor).await.1.trim_matches(['0']), "", "shown once: {template}");
    }
}

#[tokio::test]
async fn a_page_shows_what_the_handler_wrote_just_before() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.layer.manager().unwrap());
    let (_, page) = site.page("/session", "{{ session.firstName }}", &mut visitor).await;
    assert_eq!(page, "written before");
}

#[tokio::test]
async fn a_page_without_a_cookie_sets_none() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.layer.manager().unwrap());
    site.page("/", "{{ session.firstName }}{{ get_flashed_messages() }}", &mut visitor).await;
    assert_eq!(visitor.cookie(), "");
}

#[tokio::test]
async fn a_broken_template_is_a_500_that_names_file_and_line_to_the_log_and_in_a_debug_build_to_the_developer() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.layer.manager().unwrap());
    let (status, page) = site.page("/", "<one>\n{{ nonsense( }}\nthree", &mut visitor).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    for part in ["<h1>template page.html, line 2</h1>", "&lt;one&gt;", "<li value=2 class=here><code>{{ nonsense( }}"] {
        assert_eq!(page.contains(part), cfg!(debug_assertions), "{part}: {page}");
    }
    assert!(page.contains("Something went wrong on our side."), "{page}");

    let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let keep = said.clone();
    let app = Router::new()
        .route(
            "/",
            get(async move |templates: Templates| {
                let error: Error = templates.render::<String>("page.html", ()).unwrap_err();
                *keep.lock().unwrap() = error.to_string();
            }),
        )
        .layer(site.layer.clone());
    app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let said = said.lock().unwrap().clone();
    assert!(said.starts_with("template page.html, line 2: syntax error"), "{said}");
}

#[tokio::test]
async fn a_template_that_is_not_there_is_a_500_that_says_what_is_in_the_folder() {
    let site = Site::new();
    fs::write(site.folder.path().join("Page.html"), "").unwrap();
    let layer = site.layer.clone();
    let said = async |templates: Templates| templates.render::<String>("page.htm", ()).unwrap_err().to_string();
    let app: Router = Router::new().route("/", get(said)).layer(layer);
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let said = String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
    let folder = site.folder.path().canonicalize().unwrap();
    assert!(said.ends_with(&format!("The folder {} has Page.html", folder.display())), "{said}");
}

#[tokio::test]
async fn a_folder_of_templates_that_is_not_there_is_refused_at_start_up() {
    let layer = SessionLayer::new(Secret::generate()).unwrap();
    let manager = layer.manager().unwrap();
    for layer in [layer.clone(), layer, SessionLayer::from(manager)] {
        let error = layer.clone().templates("nowhere").manager().unwrap_err();
        assert!(error.is_setting() && error.to_string().contains("nowhere"), "{error}");
        assert!(error.to_string().contains(&std::env::current_dir().unwrap().display().to_string()), "{error}");
        assert!(layer.templates("Cargo.toml").manager().unwrap_err().to_string().contains("is no folder"));
    }
}

#[tokio::test]
async fn templates_that_were_added_to_an_environment_are_there_beside_those_of_its_loader() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = minijinja::Environment::new();
    environment.set_loader(minijinja::path_loader(folder.path()));
    environment.add_template("added.html", "added, {% include 'file.html' %}").unwrap();
    let app: Router = Router::new()
        .route("/", get(async |templates: Templates| templates.render::<String>("added.html", ())))
        .layer(SessionLayer::new(Secret::generate()).unwrap().templates(environment));
    for text in ["one", "two"] {
        fs::write(folder.path().join("file.html"), text).unwrap();
        let response = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        let page = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let read = if cfg!(debug_assertions) { text } else { "one" };
        assert_eq!(page, format!("added, {read}"));
    }
}

#[tokio::test]
async fn a_manager_that_was_made_before_its_pages_were_named_stays_the_one() {
    let layer = SessionLayer::new(Secret::generate()).unwrap();
    let manager = layer.manager().unwrap();
    for layer in [layer, SessionLayer::from(manager.clone())] {
        assert!(layer.templates(".").manager().unwrap().agrees_with(&manager));
    }
}

#[tokio::test]
async fn templates_that_were_not_named_say_which_line_to_add() {
    let app: Router = Router::new()
        .route("/", get(async |templates: Result<Templates, Error>| templates.unwrap_err().to_string()))
        .layer(SessionLayer::new(Secret::generate()).unwrap());
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains(".templates(\"templates\")"));
}
