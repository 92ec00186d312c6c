//! Templates of somebody else, in the place of this example's own.

mod support;

use support::{Folder, Questions};

/// A folder with the lesson's names in it, and its ways of writing: one page that others extend, addresses without
/// quotation marks, a plain link that starts over. It has no page for errors, and shows no messages.
fn lesson(name: &str) -> Folder {
    let own = Folder::new(name);
    let (templates, assets) = (own.0.join("templates"), own.0.join("static"));
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::create_dir_all(&assets).unwrap();
    std::fs::write(assets.join("style.css"), "theirs {}").unwrap();
    let page = |name: &str, content: &str| {
        let source = format!(
            "{{% extends \"layout.html\" %}}\n{{% block title %}}{name}{{% endblock %}}\n{{% block content %}}{content}{{% endblock %}}\n"
        );
        std::fs::write(templates.join(name), source).unwrap();
    };
    std::fs::write(
        templates.join("layout.html"),
        r#"<link href="{{ url_for('static', filename='style.css') }}"><title>{% block title %}{% endblock %}</title>
           <main>{% block content %}{% endblock %}</main>
           {% if 'firstName' in session %} kept: {{ session['firstName'] }} {% endif %}
           <a href={{ url_for('startOver') }}>again</a> <a href={{ url_for("renderMain") }}>home</a>"#,
    )
    .unwrap();
    page("home.html", r#"<a href="{{ url_for('renderPage1') }}">begin</a>"#);
    page("page1.html", r#"<form action={{ url_for("renderPage2") }} method="POST"><input name="firstName"></form>"#);
    page(
        "page2.html",
        r#"<form action={{ url_for("renderPage3") }} method="POST"><input name="favoriteColor"></form>"#,
    );
    page("page3.html", "({{ session['firstName'] }}) ({{ session['lastName'] }}) ({{ session['favoriteColor'] }})");
    own
}

#[test]
fn the_templates_of_the_lesson_work_as_they_are() {
    let folder = lesson("lesson");
    let mut visitor = Questions::start(&[("TEMPLATES_DIR", folder.0.join("templates").to_str().unwrap())]);
    let home = visitor.send("GET /", "");
    assert!(home.contains("<title>home.html</title>") && home.contains("<a href=\"/page1\">begin</a>"), "{home}");
    assert!(
        home.contains("href=\"/static/style.css\"") && home.contains("<a href=/startOver>again</a> <a href=/>home</a>")
    );
    assert!(visitor.send("GET /static/style.css", "").contains("theirs {}"));
    assert!(visitor.send("GET /page1", "").contains("<form action=/page2 method=\"POST\">"));
    assert!(visitor.send("GET /page3", "").contains("() () ()"), "what is not known yet is nothing");
    let page2 = visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    assert!(page2.contains("<form action=/page3 method=\"POST\">") && page2.contains("kept: Ada"), "{page2}");
    let page3 = visitor.answer("/page3", "favoriteColor=moss+green");
    assert!(page3.contains("(Ada) (Lovelace) (moss green)"), "{page3}");
    visitor.headers = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n".into();
    visitor.send("GET /startOver", "");
    assert!(visitor.cookie.is_empty() && !visitor.send("GET /", "").contains("kept"));
}

#[test]
fn pages_that_a_folder_of_templates_has_not_are_this_example_s() {
    let folder = lesson("lacks");
    let mut visitor = Questions::start(&[("TEMPLATES_DIR", folder.0.join("templates").to_str().unwrap())]);
    visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    assert!(visitor.send("GET /startOver", "").contains("<h1>Start over?</h1>"));
    let lost = visitor.send("GET /nowhere", "");
    assert!(lost.starts_with("HTTP/1.1 404") && lost.contains("There is nothing here."), "{lost}");
    assert!(visitor.send("POST /page1", "").contains("Not this way."));
    assert!(lost.contains("href=\"/static/questions.css\""));
    for (path, kind) in [("/static/questions.css", "text/css"), ("/static/favicon.svg", "image/svg+xml")] {
        let answer = visitor.send(&format!("GET {path}"), "");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("content-type: {kind}")), "{answer}");
    }
}

#[test]
fn messages_that_no_page_shows_do_not_fill_the_session() {
    let folder = lesson("unshown");
    let mut visitor = Questions::start(&[("TEMPLATES_DIR", folder.0.join("templates").to_str().unwrap())]);
    visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    visitor.answer("/page3", "favoriteColor=moss+green");
    let before = visitor.cookie.len();
    for _ in 0..5 {
        visitor.answer("/page3", "favoriteColor=moss+green");
    }
    assert!(visitor.cookie.len() <= before, "{before} bytes became {}", visitor.cookie.len());
}

#[test]
fn a_template_that_is_broken_is_a_page_that_says_something() {
    let folder = lesson("broken");
    let templates = folder.0.join("templates");
    std::fs::write(templates.join("page1.html"), "{% extends 'layout.html' %}{% block content %}{{ nothing( }}")
        .unwrap();
    let answer = Questions::start(&[("TEMPLATES_DIR", templates.to_str().unwrap())]).send("GET /page1", "");
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("content-type: text/html"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(body.contains("That was our mistake.") || body.contains("page1.html"), "{answer}");
}
