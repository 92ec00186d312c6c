//! The same templates, rendered by Jinja and by us.

use super::LESSON;
use crate::{
    http::Visitor,
    peer::{flask::Flask, questions::Questions},
    suite::{Part, scenarios},
    tools::{PYTHON, Tools},
};

pub(crate) static PART: Part = Part {
    name: "pages",
    about: "the same templates and the same session, rendered by Flask and by ours",
    needs: &[&PYTHON],
    scenarios: scenarios![every_page_of_every_stage_of_a_visit_is_the_same],
};

/// A path and what is sent there.
type Form<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const PAGES: [&str; 6] = ["/", "/page1", "/page2", "/page3", "/startOver", "/nothing-here"];

fn every_page_of_every_stage_of_a_visit_is_the_same(tools: &Tools) {
    let (flask, ours) = (Flask::start(tools, LESSON, ""), Questions::start("flask", LESSON, ""));
    let long = "ß".repeat(100);
    let too_long = "x".repeat(101);
    let stages: [&[Form<'_>]; 10] = [
        &[],
        &[("/page2", &[("firstName", "Ada"), ("lastName", "")])],
        &[("/page2", &[("firstName", ""), ("lastName", "Lovelace")])],
        &[("/page2", &[("firstName", "Ada"), ("lastName", "Lovelace")])],
        &[("/page3", &[("favoriteColor", "teal")])],
        &[("/page2", &[("firstName", "Ada"), ("lastName", "Lovelace")]), ("/page3", &[("favoriteColor", "teal")])],
        &[
            ("/page2", &[("firstName", r#"<i>"'/&\</i>"#), ("lastName", "&amp; {{ 1 }} {% x %}")]),
            ("/page3", &[("favoriteColor", " `=` \u{a0} ")]),
        ],
        &[("/page2", &[("firstName", "नमस्ते"), ("lastName", "عربي")]), ("/page3", &[("favoriteColor", "🟩\u{200d}🟦")])],
        &[("/page2", &[("firstName", &long), ("lastName", "ok")])],
        &[("/page2", &[("firstName", &too_long), ("lastName", "   ")]), ("/page3", &[])],
    ];
    for stage in stages {
        for writer in [&ours.url, &flask.url] {
            // The messages of the last step are still in the session: each page is the first to show them.
            let visitor = after(writer, stage);
            for page in PAGES {
                let (theirs, ours) = (
                    visitor.clone().get(&format!("{}{page}", flask.url)),
                    visitor.clone().get(&format!("{}{page}", ours.url)),
                );
                assert_eq!(theirs.status, ours.status, "{page} after {stage:?}");
                assert_eq!(normal(&theirs.body), normal(&ours.body), "{page} after {stage:?}");
            }
        }
    }
}

/// A visitor who has sent these forms and has not seen an answer.
fn after(url: &str, stage: &[Form<'_>]) -> Visitor {
    let mut visitor = Visitor::new();
    for (path, form) in stage {
        visitor.submit_only(&format!("{url}{path}"), form);
    }
    visitor
}

/// Both spell the same characters; MarkupSafe in decimal, and it leaves the slash alone.
fn normal(page: &str) -> String {
    page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;").replace("&#x2f;", "/")
}
