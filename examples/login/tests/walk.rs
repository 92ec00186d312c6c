//! The example as people meet it, friendly and not: the program itself, over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PASSWORD: &str = "analytical engine";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1";

/// The program, as long as a test lasts.
struct Site {
    program: Child,
    port: u16,
    /// All that it printed before it was ready.
    said: String,
}

impl Site {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_login"))
            .env_remove("SECRET_KEY")
            .env_remove("SECRET_KEY_FALLBACKS")
            .env_remove("SESSION_STORE")
            .env_remove("SESSION_STORE_FORMER")
            .env_remove("SESSION_STORE_NEXT")
            .env_remove("ALLOW_HTTP")
            .env_remove("HOST")
            .env("PORT", "0")
            .env("DEMO_PASSWORD", PASSWORD)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        for _ in 0..2 {
            output.read_line(&mut said).unwrap();
        }
        let address = said.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {said:?}"));
        let port = address.split_whitespace().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { program, port, said }
    }

    /// Somebody with a browser that has no cookie yet.
    fn visitor(&self) -> Visitor {
        Visitor { port: self.port, cookie: String::new(), headers: format!("User-Agent: {FIREFOX}\r\n") }
    }

    /// Somebody who is logged in as ada.
    fn ada(&self, browser: &str) -> Visitor {
        let mut ada = Visitor { headers: format!("User-Agent: {browser}\r\n"), ..self.visitor() };
        ada.log_in("ada", PASSWORD);
        ada
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[derive(Clone)]
struct Visitor {
    port: u16,
    cookie: String,
    headers: String,
}

impl Visitor {
    fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), "")
    }

    fn post(&mut self, path: &str, form: &str) -> Answer {
        self.send(&format!("POST {path}"), form)
    }

    fn send(&mut self, head: &str, form: &str) -> Answer {
        self.try_send(head, form).unwrap()
    }

    /// `None`: the program has stopped.
    fn try_send(&mut self, head: &str, form: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let Self { cookie, headers, .. } = self;
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok().filter(|_| !answer.is_empty())?;
        let answer = Answer(String::from_utf8(answer).unwrap());
        if let Some(cookie) = answer.header("set-cookie") {
            let over = cookie.contains("Max-Age=0");
            self.cookie = if over { String::new() } else { cookie.split(';').next().unwrap().into() };
        }
        Some(answer)
    }

    fn log_in(&mut self, name: &str, password: &str) -> Answer {
        let answer = self.post("/login", &format!("name={name}&password={}", password.replace(' ', "+")));
        assert_eq!(answer.location(), "/account");
        answer
    }

    fn register(&mut self, name: &str, password: &str) {
        let form = format!("name={name}&password={}", password.replace(' ', "+"));
        assert_eq!(self.post("/register", &form).location(), "/account");
    }

    fn is_logged_in(&mut self) -> bool {
        match self.get("/account").status() {
            200 => true,
            303 => false,
            other => panic!("/account answers {other}"),
        }
    }

    /// The handles in the list of devices: of all but this one.
    fn others(&mut self) -> Vec<String> {
        let page = self.get("/devices").0;
        let fields = page.split("name=\"handle\" value=\"").skip(1);
        fields.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    }
}

#[derive(Debug)]
struct Answer(String);

impl Answer {
    fn status(&self) -> u16 {
        self.0.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Where it leads: with a 303, which makes a GET of a POST.
    #[track_caller]
    fn location(&self) -> &str {
        assert_eq!(self.status(), 303, "{}", self.0);
        self.header("location").unwrap()
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        assert!(self.0.contains(text), "{text:?} is not in {}", self.0);
    }
}

/// A folder of one test's own, gone with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("login-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.0.join("sessions.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a promise on every store that needs nothing but this program.
fn on_every_store(name: &str, promise: impl Fn(&Site)) {
    let folder = Folder::new(name);
    for store in ["memory:", &folder.store()] {
        promise(&Site::start(&[("SESSION_STORE", store)]));
    }
}

#[test]
fn a_member_page_asks_to_log_in_and_comes_next() {
    on_every_store("walk", |site| {
        let mut ada = site.visitor();
        assert_eq!(ada.get("/devices?all=yes&x=1").location(), "/login?next=%2Fdevices%3Fall%3Dyes%26x%3D1");
        let form = ada.get("/login?next=%2Fdevices%3Fall%3Dyes%26x%3D1");
        form.shows("name=\"next\" value=\"&#x2f;devices?all=yes&amp;x=1\"");
        assert!(ada.cookie.is_empty(), "nobody has a session before the log-in");
        let answer = ada.post("/login", "name=Ada&password=analytical+engine&next=/devices?all%3Dyes%26x%3D1");
        assert_eq!(answer.location(), "/devices?all=yes&x=1");
        let page = ada.get("/devices");
        page.shows("Firefox on Linux");
        page.shows("This device");
        page.shows("Logged in as <bdi>ada</bdi>");
        assert_eq!(ada.get("/login?next=/devices").location(), "/devices", "logged in already");
        ada.get("/account").shows("This page is yours, <bdi>ada</bdi>.");
    });
}

#[test]
fn who_registers_is_logged_in_and_can_log_in_again() {
    let site = Site::start(&[]);
    let mut grace = site.visitor();
    grace.register("Grace", "nanoseconds of wire");
    let page = grace.get("/account");
    page.shows("Your account is made, and you are logged in.");
    page.shows("<bdi>Grace</bdi>");
    grace.post("/logout", "");
    grace.log_in("grace", "nanoseconds of wire");
    assert!(grace.is_logged_in());
}

#[test]
fn a_registration_that_will_not_do_is_refused_with_the_reason() {
    let site = Site::start(&[]);
    let mut visitor = site.visitor();
    for (form, reason) in [
        ("name=ADA&password=nanoseconds+of+wire", "This name is taken."),
        ("name=+&password=nanoseconds+of+wire", "Please choose a name"),
        ("name=%3Cb%3E&password=nanoseconds+of+wire", "Please choose a name"),
        ("name=grace&password=fourteen+chars", "at least 15 characters"),
        ("name=grace", "at least 15 characters"),
    ] {
        let answer = visitor.post("/register", form);
        assert_eq!(answer.status(), 422);
        answer.shows(reason);
    }
    assert!(visitor.cookie.is_empty());
}

#[test]
fn a_wrong_name_and_a_wrong_password_are_answered_alike() {
    let site = Site::start(&[]);
    let mut visitor = site.visitor();
    let mut answers = ["ada", "bob"].map(|name| visitor.post("/login", &format!("name={name}&password=wrong")));
    for answer in &mut answers {
        assert_eq!(answer.status(), 422);
        answer.shows("That name and that password do not belong together.");
        assert!(answer.header("set-cookie").is_none());
        let body = answer.0.split("\r\n\r\n").nth(1).unwrap();
        answer.0 = body.replace("value=\"ada\"", "value=\"bob\"");
    }
    assert_eq!(answers[0].0, answers[1].0);
    assert!(!visitor.is_logged_in());
}

#[test]
fn a_log_out_is_final_also_for_a_copy_of_the_cookie() {
    on_every_store("final", |site| {
        let mut ada = site.ada(FIREFOX);
        let mut copy = ada.clone();
        assert!(copy.is_logged_in());
        let answer = ada.post("/logout", "");
        assert_eq!(answer.location(), "/goodbye");
        assert!(ada.cookie.is_empty(), "{answer:?}");
        ada.get("/goodbye").shows("You are logged out.");
        assert!(!copy.is_logged_in());
        copy.post("/login", "name=ada&password=wrong");
        assert!(!copy.is_logged_in());
        copy.log_in("ada", PASSWORD);
        assert!(copy.is_logged_in(), "a browser with an old cookie is not locked out");
    });
}

#[test]
fn a_log_out_takes_a_form_and_no_link() {
    let site = Site::start(&[]);
    let mut ada = site.ada(FIREFOX);
    let answer = ada.get("/logout");
    assert_eq!((answer.status(), answer.header("allow")), (405, Some("POST")));
    answer.shows("Not this way.");
    assert!(ada.is_logged_in());
}

#[test]
fn a_device_is_ended_for_its_very_next_request() {
    on_every_store("end-one", |site| {
        let (mut desk, mut phone) = (site.ada(FIREFOX), site.ada(IPHONE));
        let page = desk.get("/devices");
        page.shows("Firefox on Linux");
        page.shows("Safari on iPhone");
        page.shows("Logged in just now, active within a day");
        let others = desk.others();
        assert_eq!(others.len(), 1, "this device has no handle to end");
        assert_eq!(desk.post("/devices/end", &format!("handle={}", others[0])).location(), "/devices");
        assert!(!phone.is_logged_in());
        let page = desk.get("/devices");
        page.shows("That device is logged out.");
        page.shows("You are logged in nowhere else.");
        desk.post("/devices/end", &format!("handle={}", others[0]));
        desk.get("/devices").shows("That device had logged out already.");
    });
}

#[test]
fn ending_all_others_leaves_this_one() {
    on_every_store("end-others", |site| {
        let mut others = [site.ada(IPHONE), site.ada(FIREFOX), site.ada("")];
        let mut desk = site.ada(FIREFOX);
        desk.get("/devices").shows("An unknown browser");
        assert_eq!(desk.post("/devices/end-others", "").location(), "/devices");
        for other in &mut others {
            assert!(!other.is_logged_in());
        }
        desk.get("/devices").shows("The other 3 devices are logged out.");
        desk.post("/devices/end-others", "");
        desk.get("/devices").shows("There was no other device.");
    });
}

#[test]
fn an_open_page_learns_within_a_second_that_its_device_was_ended() {
    on_every_store("events", |site| {
        let (mut desk, phone) = (site.ada(FIREFOX), site.ada(IPHONE));
        let mut page = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
        page.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(
            page,
            "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {}\r\n\r\n",
            phone.cookie
        )
        .unwrap();
        let mut head = [0; 12];
        page.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        desk.post("/devices/end-others", "");
        let began = Instant::now();
        let mut events = String::new();
        page.read_to_string(&mut events).unwrap();
        assert!(events.contains("event: ended"), "{events}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    });
    let site = Site::start(&[]);
    assert_eq!(site.visitor().get("/events").status(), 204);
}

#[test]
fn nobody_is_logged_out_while_a_site_moves_to_another_store() {
    let folder = Folder::new("moves");
    let (old, new) = (folder.store(), folder.store().replace(".db", "-next.db"));
    assert_ne!(old, new);
    let mut ada = Site::start(&[("SESSION_STORE", &old)]).ada(FIREFOX);
    let steps: [&[(&str, &str)]; 4] = [
        &[("SESSION_STORE", &old), ("SESSION_STORE_NEXT", &new)],
        &[("SESSION_STORE", &new), ("SESSION_STORE_FORMER", &old)],
        &[("SESSION_STORE", &old), ("SESSION_STORE_NEXT", &new)],
        &[("SESSION_STORE", &new)],
    ];
    for settings in steps {
        let site = Site::start(settings);
        ada.port = site.port;
        assert!(ada.is_logged_in(), "{settings:?}");
        // A message is written, and shown once.
        ada.post("/devices/end-others", "");
        ada.get("/devices").shows("There was no other device.");
    }
}

#[test]
fn nobody_ends_the_devices_of_somebody_else() {
    let site = Site::start(&[]);
    let (mut desk, mut phone) = (site.ada(FIREFOX), site.ada(IPHONE));
    let mut mallory = site.visitor();
    mallory.register("mallory", "not at all a villain");
    let handle = desk.others().remove(0);
    mallory.post("/devices/end", &format!("handle={handle}"));
    mallory.get("/devices").shows("That device had logged out already.");
    mallory.post("/devices/end-others", "");
    assert!(phone.is_logged_in() && desk.is_logged_in());
    phone.cookie = format!("login={handle}");
    assert!(!phone.is_logged_in(), "a handle is no session id");
}

#[test]
fn a_form_of_another_site_is_refused() {
    let site = Site::start(&[]);
    let (mut ada, mut phone) = (site.ada(FIREFOX), site.ada(IPHONE));
    let own = ada.headers.clone();
    for from in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://localhost.evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: same-site\r\nOrigin: http://localhost\r\n",
    ] {
        ada.headers = format!("{own}{from}");
        for path in ["/logout", "/login", "/register", "/devices/end", "/devices/end-others"] {
            let answer = ada.post(path, "name=ada&password=analytical+engine");
            assert_eq!(answer.status(), 403, "{path} {from}");
            assert!(answer.header("set-cookie").is_none());
            answer.shows("That came from another site.");
        }
    }
    assert!(phone.is_logged_in());
    for from in ["Origin: http://localhost\r\n", "Sec-Fetch-Site: same-origin\r\nOrigin: http://localhost\r\n"] {
        ada.headers = format!("{own}{from}");
        assert_eq!(ada.post("/devices/end-others", "").location(), "/devices", "{from}");
    }
    assert!(!phone.is_logged_in());
}

#[test]
fn an_id_from_before_the_log_in_is_worth_nothing_after_it() {
    on_every_store("fixation", |site| {
        let mut mallory = site.visitor();
        mallory.register("mallory", "not at all a villain");
        // Mallory plants a session that is alive, and one that she made up.
        for planted in [mallory.cookie.clone(), format!("login={}", "A".repeat(43))] {
            let mut ada = site.visitor();
            ada.cookie = planted.clone();
            ada.log_in("ada", PASSWORD);
            assert_ne!(ada.cookie, planted);
            ada.get("/account").shows("Logged in as <bdi>ada</bdi>");
            mallory.cookie = planted;
            assert!(!mallory.is_logged_in());
        }
    });
}

#[test]
fn logging_in_again_changes_the_id_too() {
    let site = Site::start(&[]);
    let mut ada = site.ada(FIREFOX);
    let mut thief = ada.clone();
    ada.log_in("ada", PASSWORD);
    assert!(ada.is_logged_in() && !thief.is_logged_in());
}

#[test]
fn a_log_in_leads_to_no_other_site() {
    let site = Site::start(&[]);
    for next in ["https://evil.example/", "//evil.example", "/%5Cevil.example", "/%09/evil.example", "evil.example", ""]
    {
        let form = format!("name=ada&password=analytical+engine&next={next}");
        assert_eq!(site.visitor().post("/login", &form).location(), "/account", "{next}");
        assert_eq!(site.ada(FIREFOX).get(&format!("/login?next={next}")).location(), "/account", "{next}");
    }
}

#[test]
fn only_who_is_remembered_has_a_cookie_that_outlives_the_browser() {
    let site = Site::start(&[]);
    let cookie = |form: &str| site.visitor().post("/login", form).header("set-cookie").unwrap().to_owned();
    let brief = cookie("name=ada&password=analytical+engine");
    assert!(!brief.contains("Max-Age") && !brief.contains("Expires"), "{brief}");
    assert!(brief.contains("; HttpOnly; SameSite=Lax"), "{brief}");
    let lasting = cookie("name=ada&password=analytical+engine&remember=on");
    assert!(lasting.contains("Max-Age=864000"), "{lasting}");
}

#[test]
fn no_page_is_kept_by_a_cache_and_every_page_is_guarded() {
    let site = Site::start(&[]);
    let mut ada = site.ada(FIREFOX);
    for path in ["/", "/account", "/devices", "/goodbye", "/login", "/nowhere", "/logout"] {
        let answer = ada.get(path);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let answer = ada.get("/nowhere");
    assert_eq!(answer.status(), 404);
    answer.shows("There is nothing here.");
}

#[test]
fn what_people_type_is_text_on_every_page() {
    let site = Site::start(&[]);
    let mut visitor = site.visitor();
    let evil = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for answer in [
        visitor.post("/login", &format!("name={evil}&password=x&next={evil}")),
        visitor.post("/register", &format!("name={evil}&password=x")),
        visitor.get(&format!("/login?next={evil}")),
    ] {
        assert!(answer.0.contains("&lt;script&gt;") && !answer.0.contains("<script"), "{answer:?}");
    }
}

#[test]
fn a_session_outlives_the_process_but_not_its_account() {
    let folder = Folder::new("restart");
    let store = folder.store();
    let settings = [("SESSION_STORE", store.as_str())];
    let site = Site::start(&settings);
    let (mut ada, mut grace) = (site.ada(FIREFOX), site.visitor());
    grace.register("grace", "nanoseconds of wire");
    drop(site);

    let site = Site::start(&settings);
    (ada.port, grace.port) = (site.port, site.port);
    assert!(ada.is_logged_in());
    assert!(!grace.is_logged_in(), "accounts are in memory");
    site.visitor().register("grace", "another grace, later");
    assert!(!grace.is_logged_in(), "a name that was given again opens no old session");
}

#[test]
fn a_store_that_is_down_is_a_friendly_503_and_logs_nobody_in() {
    let (site, folder) = on_sqlite("down");
    drop(folder);
    let mut visitor = site.visitor();
    assert_eq!(visitor.get("/").status(), 200, "without a cookie there is nothing to ask the store");
    let log_in = visitor.post("/login", "name=ada&password=analytical+engine");
    visitor.cookie = format!("login={}", "A".repeat(43));
    for answer in [log_in, visitor.get("/account"), visitor.post("/logout", "")] {
        assert_eq!(answer.status(), 503);
        assert!(answer.header("retry-after").is_some() && answer.header("set-cookie").is_none(), "{answer:?}");
        answer.shows("Out of reach, for a moment.");
    }
}

#[test]
fn a_health_check_says_whether_the_store_can_be_reached() {
    on_every_store("health", |site| {
        let answer = site.visitor().get("/healthz");
        assert!(answer.status() == 200 && answer.0.ends_with("\r\n\r\nok"), "{answer:?}");
        assert!(answer.header("set-cookie").is_none(), "{answer:?}");
    });
    let (site, folder) = on_sqlite("health");
    drop(folder);
    assert_eq!(site.visitor().get("/healthz").status(), 503);
}

#[test]
fn it_does_not_start_where_its_store_is_not_there() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_login"));
    let output = command.env_remove("SECRET_KEY").env("SESSION_STORE", format!("redis://{nowhere}")).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("error: SESSION_STORE: session store: redis"), "{error}");
}

/// Sessions in a file, in a folder that a test may remove.
fn on_sqlite(name: &str) -> (Site, Folder) {
    let folder = Folder::new(name);
    (Site::start(&[("SESSION_STORE", &folder.store())]), folder)
}

#[test]
fn a_browser_that_asks_for_an_icon_gets_one() {
    let site = Site::start(&[]);
    let mut visitor = site.visitor();
    let answer = visitor.get("/favicon.ico");
    assert_eq!((answer.status(), answer.header("location")), (308, Some("/static/favicon.svg")));
    assert_eq!(visitor.get("/static/favicon.svg").header("content-type"), Some("image/svg+xml"));
}

#[test]
fn a_broken_form_is_a_friendly_4xx() {
    let site = Site::start(&[]);
    let mut visitor = site.visitor();
    let long = format!("name=ada&password={}", "x".repeat(20_000));
    for (form, status) in [("name=%FF&name=x", 422), (long.as_str(), 413)] {
        let answer = visitor.post("/login", form);
        assert_eq!(answer.status(), status, "{answer:?}");
        answer.shows("That could not be read.");
    }
}

#[test]
fn https_only_is_kept_where_the_address_is_not_a_loopback_one() {
    let site = Site::start(&[("HOST", "0.0.0.0")]);
    let answer = site.visitor().log_in("ada", PASSWORD);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-Http-session=") && cookie.contains("; Secure; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
}

#[test]
fn a_password_is_made_and_printed_where_none_is_set_and_a_set_one_is_not_printed() {
    let site = Site::start(&[("DEMO_PASSWORD", "")]);
    let password = site.said.split("the password ").nth(1).unwrap().split(' ').next().unwrap();
    site.visitor().log_in("ada", password);
    assert!(!Site::start(&[]).said.contains(PASSWORD));
}

#[test]
fn a_wrong_setting_is_refused_with_what_to_write_instead() {
    for (name, value, said) in [
        ("SECRET_KEY", "short", "16 is the least"),
        ("PORT", "many", "PORT"),
        ("SESSION_STORE", "cobol:", "SESSION_STORE: a store's address begins with memory:, sqlite:, postgres:, "),
        ("ALLOW_HTTP", "perhaps", "ALLOW_HTTP"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login"));
        let output = command.env_remove("SECRET_KEY").env(name, value).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_cleanly() {
    let mut site = Site::start(&[]);
    let killed = Command::new("kill").args(["-TERM", &site.program.id().to_string()]).status().unwrap();
    assert!(killed.success() && site.program.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn sigterm_in_the_middle_of_writes_loses_nothing_that_was_answered() {
    let folder = Folder::new("sigterm");
    let store = folder.store();
    let settings = [("SESSION_STORE", store.as_str())];
    let mut site = Site::start(&settings);
    let ada = site.ada(FIREFOX);
    // Each ends one session and begins another, as fast as it is answered.
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let mut ada = site.ada(IPHONE);
            std::thread::spawn(move || {
                let form = format!("name=ada&password={}", PASSWORD.replace(' ', "+"));
                let (mut begun, mut ended) = (vec![ada.clone()], Vec::new());
                // A log-out that was not answered may be done: of its session nothing is known.
                while let Some(session) = begun.pop() {
                    let Some(answer) = ada.try_send("POST /logout", "") else { break };
                    assert_eq!(answer.status(), 303);
                    ended.push(session);
                    for _ in 0..2 {
                        let mut another = Visitor { cookie: String::new(), ..ada.clone() };
                        let Some(answer) = another.try_send("POST /login", &form) else { return (begun, ended) };
                        assert_eq!(answer.location(), "/account");
                        begun.insert(0, another);
                    }
                    ada = begun[begun.len() - 1].clone();
                }
                (begun, ended)
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let killed = Command::new("kill").args(["-TERM", &site.program.id().to_string()]).status().unwrap();
    assert!(killed.success() && site.program.wait().unwrap().success());
    let (begun, ended): (Vec<_>, Vec<_>) = busy.into_iter().map(|thread| thread.join().unwrap()).unzip();
    let (begun, ended) = (begun.concat(), ended.concat());

    let site = Site::start(&settings);
    let is_logged_in = |visitor: &Visitor| Visitor { port: site.port, ..visitor.clone() }.is_logged_in();
    assert!(is_logged_in(&ada));
    assert!(begun.len() >= 4 && ended.len() >= 4, "{} log-ins and {} log-outs were answered", begun.len(), ended.len());
    for visitor in &begun {
        assert!(is_logged_in(visitor), "a log-in that was answered is lost");
    }
    for visitor in &ended {
        assert!(!is_logged_in(visitor), "a log-out that was answered is lost");
    }
}
