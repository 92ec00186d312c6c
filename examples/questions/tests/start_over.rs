//! Starting over: at once for whoever wants it, and never by a stranger's link.

mod support;

use support::Questions;

/// What a browser says of a link that is followed on the same site.
const FOLLOWED: [&str; 3] = ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];

/// Opens the lesson's link with these headers.
fn open(visitor: &mut Questions, headers: &[&str]) -> String {
    visitor.headers = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let answer = visitor.send("GET /startOver", "");
    visitor.headers.clear();
    answer
}

#[test]
fn a_link_to_start_over_that_is_followed_on_this_site_starts_over_at_once() {
    for headers in [&FOLLOWED[..], &[&FOLLOWED[..], &["Sec-Fetch-User: ?1"]].concat()] {
        let mut visitor = Questions::start(&[]);
        visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
        let answer = open(&mut visitor, headers);
        assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("\r\nlocation: /\r\n"), "{answer}");
        assert!(visitor.cookie.is_empty(), "{answer}");
    }
}

#[test]
fn whatever_else_opens_start_over_is_asked_and_empties_nothing() {
    let [site, mode, document] = FOLLOWED;
    let mut visitor = Questions::start(&[]);
    visitor.answer("/page2", "firstName=Ada&lastName=Lovelace");
    for (headers, who) in [
        (&[][..], "a browser that does not say, or curl"),
        (&["Sec-Fetch-Site: cross-site", mode, document, "Sec-Fetch-User: ?1"], "a link on another site"),
        (&["Sec-Fetch-Site: same-site", mode, document, "Sec-Fetch-User: ?1"], "a link on a neighbour's site"),
        (&["Sec-Fetch-Site: none", mode, document, "Sec-Fetch-User: ?1"], "an address that was typed"),
        (&[site, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"], "an image"),
        (&[site, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"], "a script"),
        (&[site, mode, "Sec-Fetch-Dest: iframe"], "a frame"),
        (&[site, mode, document, "Sec-Purpose: prefetch"], "a page that is fetched before it is wanted"),
        (&[site, mode, document, "Sec-Purpose: prefetch;prerender"], "a page that is rendered before it is wanted"),
    ] {
        let asked = open(&mut visitor, headers);
        assert!(asked.starts_with("HTTP/1.1 200") && asked.contains("<h1>Start over?</h1>"), "{who}: {asked}");
        assert!(asked.contains("<form class=\"actions\" method=\"post\" action=\"/startOver\">"), "{who}: {asked}");
        assert!(!asked.contains("set-cookie") && asked.contains("cache-control: no-store"), "{who}: {asked}");
        assert!(asked.to_lowercase().contains("\r\nvary: cookie\r\n"), "{who}: {asked}");
        assert!(visitor.send("GET /page3", "").contains("Lovelace"), "{who}");
    }
    assert!(visitor.answer("/startOver", "").contains("Nothing yet.") && visitor.cookie.is_empty());
}

#[test]
fn start_over_is_offered_where_something_is_kept_and_nowhere_else() {
    let mut visitor = Questions::start(&[]);
    for path in ["/", "/page1", "/page2", "/page3", "/nowhere"] {
        let page = visitor.send(&format!("GET {path}"), "");
        assert!(!page.contains("Start over"), "{path}: {page}");
    }
    let answer = visitor.send("GET /startOver", "");
    assert!(answer.contains("\r\nlocation: /\r\n") && !answer.contains("set-cookie"), "{answer}");
    visitor.answer("/page2", "firstName=Ada&lastName=");
    for path in ["/", "/page1", "/page2", "/page3", "/nowhere", "/startOver"] {
        let page = visitor.send(&format!("GET {path}"), "");
        assert_eq!(page.matches("action=\"/startOver\"").count(), 1, "{path}: {page}");
    }
}
