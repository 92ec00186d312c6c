//! PHP's session files, with PHP's part played by `flock(1)` and by descriptors of our own.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write as _},
    os::unix::{
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use dewar::{
    Clock, Error, Lifetime, Secret, SessionManager,
    dialect::Php,
    layout::{Shape, Stored},
    store::{
        self, Applied, Engine, Found, Guard, SessionAdmin, SessionStore, StoreKey, Timestamp, Tombstone, Version, Why,
        Write, conformance, files::FilesStore,
    },
};
use tempfile::TempDir;

const ID: &str = "k0v1u2t3s4r5q6p7o8n9m0l1k2";
const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);

/// A save path, and our engine in it.
struct Site {
    folder: TempDir,
    engine: Arc<dyn Engine>,
    now: Timestamp,
}

impl Site {
    fn new() -> Self {
        Self::with(|store| store)
    }

    fn with(set: impl FnOnce(FilesStore) -> FilesStore) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = set(FilesStore::open(&folder).unwrap()).engine(Shape::Blob).unwrap();
        Self { folder, engine, now: Timestamp::from(SystemTime::now()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn record(&self) -> PathBuf {
        self.path(&format!("sess_{ID}"))
    }

    fn tombstone(&self) -> PathBuf {
        self.path(&format!("dewar-ended_{ID}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn create(&self, id: &str, data: &'static str) -> Applied {
        self.engine.apply(id, Guard::Absent, self.writing(data), self.now).await.unwrap()
    }

    fn writing(&self, data: &'static str) -> Write {
        writing(data, self.now.after(HOUR))
    }

    async fn replace(&self, was: &str, data: &'static str) -> Applied {
        self.engine.apply(ID, is(was), self.writing(data), self.now).await.unwrap()
    }

    async fn end(&self, guard: Guard) -> Applied {
        self.engine.end(ID, guard, self.ended(), self.now).await.unwrap()
    }

    fn ended(&self) -> Tombstone {
        Tombstone::new(Why::Ended, 7, self.now)
    }

    /// The text of the record, as a load finds it.
    async fn load(&self) -> Result<String, Found> {
        match self.engine.load(ID, self.now).await.unwrap() {
            Found::Record { data: Stored::Blob(data), .. } => Ok(String::from_utf8(data.to_vec()).unwrap()),
            other => Err(other),
        }
    }
}

fn writing(data: &'static str, expires: Timestamp) -> Write {
    let data = Stored::Blob(data.into());
    Write::Record { version: version(&data), data, expires }
}

fn version(data: &Stored) -> Version {
    Version::digest(data.body())
}

fn is(data: &str) -> Guard {
    Guard::Is(Version::digest(data.as_bytes()))
}

/// What the file says of its last change.
fn modified(path: &Path) -> Timestamp {
    fs::metadata(path).unwrap().modified().unwrap().into()
}

/// A request of PHP's, as far as files go: another process with `flock(LOCK_EX)` on a session's.
struct Request(Child);

impl Request {
    /// Has the lock when this returns.
    fn begin(file: &Path) -> Self {
        let mut command = Command::new("flock");
        command.arg(file).args(["sh", "-c", "echo locked; cat > /dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("flock(1) of util-linux");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let engine = async || FilesStore::open(&folder).unwrap().engine(Shape::Blob).unwrap();
    conformance::check_engine(engine, |text| format!("PHPREDIS_SESSION:{text}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_at_phps_depth_too() {
    let folder = tempfile::tempdir().unwrap();
    for name in (0..256).map(|number| format!("{:x}/{:x}", number / 16, number % 16)) {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let engine = async || FilesStore::open(&folder).unwrap().depth(2).engine(Shape::Blob).unwrap();
    conformance::check_engine(engine, str::to_owned).await;
}

/// As in a program without tokio.
#[test]
fn it_needs_no_runtime() {
    let site = Site::new();
    pollster::block_on(async {
        assert!(matches!(site.create(ID, "a|i:1;").await, Applied::Done));
        assert_eq!(site.load().await.unwrap(), "a|i:1;");
    });
}

#[tokio::test]
async fn a_record_is_phps_file() {
    let site = Site::new();
    assert!(matches!(site.create(ID, "a|i:1;").await, Applied::Done));
    assert_eq!(site.names(), [format!("sess_{ID}")]);
    assert_eq!(fs::read(site.record()).unwrap(), b"a|i:1;");
    assert_eq!(fs::metadata(site.record()).unwrap().permissions().mode() & 0o7777, 0o600);
    // PHP's lifetime after its last change it ends.
    assert_eq!(modified(&site.record()).after(FilesStore::DEFAULT_LIFETIME), site.now.after(HOUR));
}

#[tokio::test]
async fn a_depth_is_the_first_characters_of_the_id_and_its_folders_are_not_made() {
    let site = Site::with(|store| store.depth(2));
    let error = site.engine.apply(ID, Guard::Absent, site.writing("x"), site.now).await.unwrap_err().to_string();
    assert!(error.contains("its folder is missing") && !error.contains(ID), "{error}");
    assert!(matches!(site.load().await, Err(Found::Missing)));
    fs::create_dir_all(site.path("k/0")).unwrap();
    site.create(ID, "x").await;
    assert!(site.path(&format!("k/0/sess_{ID}")).is_file());
    assert!(matches!(site.end(Guard::Any).await, Applied::Done));
    assert!(site.path(&format!("k/0/dewar-ended_{ID}")).is_file());
}

#[tokio::test]
async fn nothing_but_an_id_of_phps_reaches_a_path() {
    let site = Site::with(|store| store.depth(1));
    let outside = site.folder.path().with_extension("outside");
    for id in [
        "",
        "a",
        "../x",
        "..",
        "a/../../b",
        "/etc/passwd",
        "ab\0c",
        "é1234",
        "ab c",
        "ab.c",
        "ab_c",
        "sess_abc",
        "ab%2c",
        "ab\n",
        "PHPREDIS_SESSION:../x",
        "x:",
        &"a".repeat(251),
        &"a".repeat(100_000),
    ] {
        assert!(matches!(site.engine.load(id, site.now).await.unwrap(), Found::Missing), "{id:?}");
        let refusals = [
            site.engine.apply(id, Guard::Absent, site.writing("x"), site.now).await,
            site.engine.end(id, Guard::Any, site.ended(), site.now).await,
            site.engine.rename(id, Guard::Any, ID, site.writing("x"), site.ended(), site.now).await,
        ];
        for refused in refusals {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("no id of PHP's"), "{error}");
        }
    }
    assert_eq!(site.names(), Vec::<String>::new());
    assert!(!outside.exists());
}

#[tokio::test]
async fn ids_of_every_length_and_alphabet_of_phps_are_kept_and_end() {
    let site = Site::new();
    for id in [
        "a",
        "-",
        ",",
        "A,b-9",
        "0123456789abcdef0123456789abcdef",
        &"Z".repeat(243),
        &"y".repeat(244),
        &"-".repeat(250),
    ] {
        assert!(matches!(site.create(id, "x").await, Applied::Done), "{id}");
        assert!(matches!(site.engine.load(id, site.now).await.unwrap(), Found::Record { .. }), "{id}");
        let ended = site.engine.end(id, is("x"), site.ended(), site.now).await.unwrap();
        assert!(matches!(ended, Applied::Done), "{id}");
        assert!(matches!(site.engine.load(id, site.now).await.unwrap(), Found::Gone(_)), "{id}");
    }
    assert!(site.names().iter().all(|name| name.starts_with("dewar-ended_")), "{:?}", site.names());
    assert_eq!(site.names().len(), 8);
}

#[tokio::test]
async fn a_write_is_made_where_the_file_is() {
    let site = Site::new();
    site.create(ID, "a long record of before").await;
    let php = File::options().read(true).write(true).open(site.record()).unwrap();
    assert!(matches!(site.replace("a long record of before", "short").await, Applied::Done));
    let mut seen = [0; 64];
    let count = php.read_at(&mut seen, 0).unwrap();
    assert_eq!(&seen[..count], b"short");
    assert_eq!(php.metadata().unwrap().ino(), fs::metadata(site.record()).unwrap().ino());
}

#[tokio::test]
async fn a_touch_moves_the_time_and_nothing_else() {
    let site = Site::new();
    site.create(ID, "a|i:1;").await;
    let touched = site.engine.apply(ID, is("a|i:1;"), Write::Touch(site.now.after(2 * HOUR)), site.now).await.unwrap();
    assert!(matches!(touched, Applied::Done));
    assert_eq!(modified(&site.record()).after(FilesStore::DEFAULT_LIFETIME), site.now.after(2 * HOUR));
    assert_eq!(site.load().await.unwrap(), "a|i:1;");
}

#[tokio::test]
async fn what_php_writes_lives_for_phps_lifetime() {
    let site = Site::with(|store| store.gc_maxlifetime(Duration::from_secs(60)));
    fs::write(site.record(), "a|i:1;").unwrap();
    assert_eq!(site.load().await.unwrap(), "a|i:1;");
    let Found::Record { expires, .. } = site.engine.load(ID, site.now).await.unwrap() else { panic!() };
    assert!(expires.since(site.now) <= Duration::from_secs(61), "{expires}");
    let later = site.now.after(Duration::from_secs(62));
    assert!(matches!(site.engine.load(ID, later).await.unwrap(), Found::Missing));
    let replaced = site.engine.apply(ID, is("a|i:1;"), site.writing("late"), later).await.unwrap();
    assert!(matches!(replaced, Applied::Gone(None)));
    assert_eq!(fs::read(site.record()).unwrap(), b"a|i:1;", "only what purges removes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_the_lock_of_a_request_and_loses_nothing_of_it() {
    let site = Site::new();
    site.create(ID, "before").await;
    let mut request = Request::begin(&site.record());
    let path = site.record();
    let php = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        fs::write(path, "of PHP").unwrap();
        request.end();
    });
    let began = Instant::now();
    assert!(matches!(site.replace("before", "ours").await, Applied::Conflict));
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    php.join().unwrap();
    assert_eq!(site.load().await.unwrap(), "of PHP");
    assert!(matches!(site.replace("of PHP", "ours").await, Applied::Done));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_does_not_wait_for_the_lock() {
    let site = Site::new();
    for data in ["before", ""] {
        fs::write(site.record(), data).unwrap();
        let _request = Request::begin(&site.record());
        let began = Instant::now();
        assert_eq!(site.load().await.unwrap(), data);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_ever_is_an_error_that_says_so() {
    let limit = Duration::from_millis(200);
    let site = Site::with(|store| store.lock_limit(limit));
    site.create(ID, "before").await;
    let _request = Request::begin(&site.record());
    let began = Instant::now();
    let errors = [
        site.engine.apply(ID, is("before"), site.writing("ours"), site.now).await,
        site.engine.end(ID, Guard::Any, site.ended(), site.now).await,
        site.engine.rename(ID, is("before"), "another", site.writing("ours"), site.ended(), site.now).await,
    ];
    assert!((3 * limit..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    for error in errors.map(|answer| answer.unwrap_err().to_string()) {
        assert!(error.contains("another request holds the lock of this session, after 0.2 s still"), "{error}");
    }
    assert_eq!(site.names(), [format!("sess_{ID}")]);
    assert_eq!(site.load().await.unwrap(), "before");
}

/// It moves the time itself when it ends: who only reads a page waits for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_touch_is_left_to_the_request_that_has_the_lock() {
    let site = Site::new();
    site.create(ID, "before").await;
    let (_request, before, began) = (Request::begin(&site.record()), modified(&site.record()), Instant::now());
    let touched = site.engine.apply(ID, is("before"), Write::Touch(site.now.after(2 * HOUR)), site.now).await.unwrap();
    assert!(matches!(touched, Applied::Done));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(modified(&site.record()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_php_removes_while_we_wait_is_not_written_to() {
    let site = Site::new();
    site.create(ID, "before").await;
    let mut request = Request::begin(&site.record());
    let (path, held) = (site.record(), File::open(site.record()).unwrap());
    let php = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        fs::remove_file(path).unwrap();
        request.end();
    });
    assert!(matches!(site.replace("before", "ours").await, Applied::Gone(None)));
    php.join().unwrap();
    let mut seen = [0; 16];
    let count = held.read_at(&mut seen, 0).unwrap();
    assert_eq!((&seen[..count], site.names()), (&b"before"[..], vec![]));
}

/// Each writer adds its line to what it has read, ours by the digest of that and the others under the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_of_both_sides_at_once_are_all_there() {
    const EACH: usize = 60;
    let site = Arc::new(Site::new());
    site.create(ID, "").await;
    let path = site.record();
    let theirs: Vec<_> = (0..2)
        .map(|writer| {
            let path = path.clone();
            thread::spawn(move || {
                for turn in 0..EACH {
                    let file = File::options().read(true).append(true).open(&path).unwrap();
                    file.lock().unwrap();
                    writeln!(&file, "theirs {writer} {turn}").unwrap();
                }
            })
        })
        .collect();
    let ours: Vec<_> = (0..2)
        .map(|writer| {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                for turn in 0..EACH {
                    loop {
                        let before = site.load().await.unwrap();
                        let data = Stored::Blob(format!("{before}ours {writer} {turn}\n").into());
                        let write = Write::Record { version: version(&data), data, expires: site.now.after(HOUR) };
                        match site.engine.apply(ID, is(&before), write, site.now).await.unwrap() {
                            Applied::Done => break,
                            Applied::Conflict => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
            })
        })
        .collect();
    for task in ours {
        task.await.unwrap();
    }
    theirs.into_iter().for_each(|thread| thread.join().unwrap());
    let all = site.load().await.unwrap();
    for (side, writer, turn) in ["ours", "theirs"]
        .iter()
        .flat_map(|side| (0..2).flat_map(move |writer| (0..EACH).map(move |turn| (side, writer, turn))))
    {
        let line = format!("{side} {writer} {turn}");
        assert_eq!(all.lines().filter(|found| **found == line).count(), 1, "{line}");
    }
}

#[tokio::test]
async fn what_ended_stays_ended_though_php_writes_it_again() {
    let site = Site::new();
    site.create(ID, "before").await;
    assert!(matches!(site.end(is("before")).await, Applied::Done));
    assert_eq!(site.names(), [format!("dewar-ended_{ID}")]);
    // A request of PHP's that had begun before.
    for meets in 0..3 {
        fs::write(site.record(), "late").unwrap();
        let met = match meets {
            0 => matches!(site.load().await, Err(Found::Gone(found)) if found == site.ended()),
            1 => matches!(site.replace("late", "x").await, Applied::Gone(Some(found)) if found == site.ended()),
            _ => matches!(site.create(ID, "x").await, Applied::Gone(Some(found)) if found == site.ended()),
        };
        assert!(met, "{meets}");
        assert!(!site.record().exists());
    }
    let later = site.now.after(Duration::from_secs(121));
    assert!(matches!(site.engine.load(ID, later).await.unwrap(), Found::Missing));
}

/// The power failed, or somebody was killed, between the tombstone and the removal.
#[tokio::test]
async fn a_record_that_was_to_be_removed_and_was_not_does_not_come_back_after_its_tombstone() {
    for renews in [false, true] {
        let site = Site::new();
        site.create(ID, "user|i:7;").await;
        let copy = site.path("copy");
        fs::hard_link(site.record(), &copy).unwrap();
        let ended = match renews {
            false => site.end(is("user|i:7;")).await,
            true => {
                let write = site.writing("x");
                site.engine.rename(ID, is("user|i:7;"), "another", write, site.ended(), site.now).await.unwrap()
            }
        };
        assert!(matches!(ended, Applied::Done));
        fs::rename(&copy, site.record()).unwrap();
        let later = site.now.after(Duration::from_secs(121));
        match site.engine.load(ID, later).await.unwrap() {
            Found::Missing => {}
            Found::Record { data: Stored::Blob(data), .. } if data.is_empty() => {}
            other => panic!("{renews}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_waits_for_the_lock_of_a_log_out_finds_nothing_in_the_file() {
    let site = Site::new();
    site.create(ID, "user|i:7;").await;
    let waits = File::open(site.record()).unwrap();
    assert!(matches!(site.end(is("user|i:7;")).await, Applied::Done));
    assert_eq!(waits.metadata().unwrap().len(), 0);
}

#[tokio::test]
async fn a_log_out_that_fails_leaves_the_session_its_time() {
    let site = Site::new();
    site.create(ID, "before").await;
    let before = modified(&site.record());
    fs::create_dir(site.tombstone()).unwrap();
    assert!(site.engine.end(ID, Guard::Any, site.ended(), site.now).await.is_err());
    fs::remove_dir(site.tombstone()).unwrap();
    assert_eq!((modified(&site.record()), site.load().await.unwrap()), (before, "before".to_owned()));
}

#[tokio::test]
async fn a_tombstone_that_cannot_be_read_keeps_nobody_from_removing_the_others() {
    let site = Site::new();
    for id in ["a", "b", "c"] {
        fs::write(site.path(&format!("dewar-ended_{id}")), [9; 64]).unwrap();
    }
    site.create(ID, "x").await;
    assert_eq!(site.engine.purge(100, site.now.after(2 * HOUR)).await.unwrap(), 1);
    assert_eq!(site.names(), ["dewar-ended_a", "dewar-ended_b", "dewar-ended_c"]);
}

#[tokio::test]
async fn a_tombstone_that_stands_stays_for_the_later_of_both() {
    let site = Site::new();
    assert!(matches!(site.end(Guard::Any).await, Applied::Gone(None)), "where nothing stood");
    let longer = Tombstone { nonce: 8, ..site.ended().until(Some(site.now.after(HOUR))) };
    let ended = site.engine.end(ID, Guard::Any, longer.clone(), site.now).await.unwrap();
    let kept = Tombstone { nonce: 7, ..longer };
    assert!(matches!(ended, Applied::Gone(Some(found)) if found == kept));
    assert!(matches!(site.end(Guard::Any).await, Applied::Gone(Some(found)) if found == kept));
    assert!(matches!(site.load().await, Err(Found::Gone(found)) if found == kept));
}

/// Its writer was killed before the record was removed.
#[tokio::test]
async fn a_tombstone_that_was_cut_ends_nothing_and_is_written_again() {
    let site = Site::new();
    site.create(ID, "before").await;
    for length in [0, 1, 10, 26] {
        fs::write(
            site.tombstone(),
            &[2, 1, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                [..length],
        )
        .unwrap();
        assert_eq!(site.load().await.unwrap(), "before", "{length}");
    }
    assert!(matches!(site.end(is("before")).await, Applied::Done));
    assert!(matches!(site.load().await, Err(Found::Gone(found)) if found == site.ended()));
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_session_as_it_was() {
    let site = Site::new();
    site.create(ID, "before").await;
    fs::create_dir(site.tombstone()).unwrap();
    let renewed = site.engine.rename(ID, is("before"), "another", site.writing("x"), site.ended(), site.now).await;
    assert!(renewed.is_err());
    fs::remove_dir(site.tombstone()).unwrap();
    assert_eq!(site.names(), [format!("sess_{ID}")]);
    site.create("another", "somebody else's").await;
    let renewed = site.engine.rename(ID, is("before"), "another", site.writing("x"), site.ended(), site.now).await;
    assert!(renewed.unwrap_err().to_string().contains("not new"));
    assert_eq!(site.load().await.unwrap(), "before");
    assert_eq!(fs::read(site.path("sess_another")).unwrap(), b"somebody else's");
}

#[tokio::test]
async fn what_is_no_file_of_a_session_is_an_error_and_stays_as_it_is() {
    let site = Site::new();
    let target = site.path("target");
    fs::write(&target, "a|i:1;").unwrap();
    let make: [(&str, &dyn Fn()); 4] = [
        ("a link", &|| symlink(&target, site.record()).unwrap()),
        ("a link that leads nowhere", &|| symlink("nowhere", site.record()).unwrap()),
        ("a folder", &|| fs::create_dir(site.record()).unwrap()),
        ("a pipe", &|| assert!(Command::new("mkfifo").arg(site.record()).status().unwrap().success())),
    ];
    for (what, make) in make {
        make();
        let before = fs::symlink_metadata(site.record()).unwrap().ino();
        let errors = [
            site.engine.load(ID, site.now).await.map(drop),
            site.engine.apply(ID, Guard::Absent, site.writing("x"), site.now).await.map(drop),
            site.engine.apply(ID, is("a|i:1;"), site.writing("x"), site.now).await.map(drop),
            site.engine.end(ID, Guard::Any, site.ended(), site.now).await.map(drop),
        ];
        for error in errors {
            let error = error.expect_err(what).to_string();
            assert!(error.starts_with("files: ") && !error.contains(ID), "{what}: {error}");
        }
        assert_eq!(fs::symlink_metadata(site.record()).unwrap().ino(), before, "{what}");
        assert_eq!(site.engine.purge(100, site.now.after(100 * HOUR)).await.unwrap(), 0, "{what}");
        fs::remove_file(site.record()).or_else(|_| fs::remove_dir(site.record())).unwrap();
    }
    assert_eq!(fs::read(&target).unwrap(), b"a|i:1;");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_an_error_and_stays_as_it_is() {
    let site = Site::new();
    let large = vec![b'x'; (16 << 20) + 1];
    fs::write(site.record(), &large[1..]).unwrap();
    assert!(matches!(site.engine.load(ID, site.now).await.unwrap(), Found::Record { .. }));
    fs::write(site.record(), &large).unwrap();
    for error in [
        site.engine.load(ID, site.now).await.map(drop),
        site.engine.apply(ID, Guard::Is(Version::digest(&large)), site.writing("x"), site.now).await.map(drop),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("16 MiB") && !error.contains(ID), "{error}");
    }
    assert_eq!(fs::metadata(site.record()).unwrap().len(), large.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_removes_what_has_expired_and_nobody_uses() {
    let site = Site::new();
    let others = ["readme", "sess", "dewar-else"];
    others.iter().for_each(|name| fs::write(site.path(name), "x").unwrap());
    for id in ["old", "locked", "touched"] {
        site.create(id, "x").await;
    }
    site.create(ID, "x").await;
    site.end(Guard::Any).await;
    let later = site.now.after(HOUR);
    let touch = Write::Touch(later.after(HOUR));
    site.engine.apply("touched", is("x"), touch, site.now).await.unwrap();
    let mut request = Request::begin(&site.path("sess_locked"));
    assert_eq!(site.engine.purge(100, site.now).await.unwrap(), 0);
    assert_eq!(site.engine.purge(1, later).await.unwrap(), 1);
    assert_eq!(site.engine.purge(100, later).await.unwrap(), 1);
    assert_eq!(site.names(), ["dewar-else", "readme", "sess", "sess_locked", "sess_touched"]);
    request.end();
    assert_eq!(site.engine.purge(100, later).await.unwrap(), 1);
    assert!(site.engine.needs_purging());
}

#[tokio::test]
async fn purging_goes_through_the_folders_of_a_depth_and_no_others() {
    let site = Site::with(|store| store.depth(2));
    for folder in ["k/0", "k/00", "kk/0", "elsewhere"] {
        fs::create_dir_all(site.path(folder)).unwrap();
        fs::write(site.path(&format!("{folder}/sess_{ID}")), "x").unwrap();
    }
    fs::write(site.record(), "x").unwrap();
    assert_eq!(site.engine.purge(100, site.now.after(HOUR)).await.unwrap(), 1);
    assert!(!site.path(&format!("k/0/sess_{ID}")).exists());
}

/// As root everything is ours to write: then this test's own program runs as somebody else.
fn as_somebody_else(test: &str, folder: &Path) -> bool {
    const FOLDER: &str = "DEWAR_TEST_FOLDER";
    if std::env::var_os(FOLDER).is_some() || fs::metadata("/proc/self").unwrap().uid() != 0 {
        return false;
    }
    let program = folder.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [folder, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).current_dir("/").uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    true
}

/// Sessions of PHP's in this folder.
fn manager(
    site: &Site,
    set: fn(FilesStore) -> FilesStore,
    lifetime: Option<Lifetime>,
) -> Result<SessionManager, Error> {
    let builder = SessionManager::builder(Secret::generate())?.dialect(|_: &dewar::Keyring| Php::new());
    let builder = builder.store(set(FilesStore::open(&site.folder).unwrap())).clock(Clock::at(site.now));
    match lifetime {
        Some(lifetime) => builder.lifetime(lifetime).build(),
        None => builder.build(),
    }
}

/// So many seconds a session of PHP's lives, by what both sides are told.
#[tokio::test]
async fn a_lifetime_that_is_said_once_is_that_of_phps_sessions_too() {
    let idle = |seconds| Some(Lifetime::browser().idle(Duration::from_secs(seconds)));
    let said: fn(FilesStore) -> FilesStore = |store| store.gc_maxlifetime(HOUR);
    let unsaid: fn(FilesStore) -> FilesStore = |store| store;
    for (set, lifetime, lives) in [
        (unsaid, None, 1440),
        (unsaid, idle(7200), 7200),
        (unsaid, idle(60), 60),
        (unsaid, Some(Lifetime::persistent()), 1440),
        (said, None, 3600),
        (said, idle(3600), 3600),
    ] {
        let site = Site::new();
        let manager = manager(&site, set, lifetime).unwrap();
        let mut visitor = dewar::testing::Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
        let name = site.names().remove(0);
        // Both write the moment of the write, and nothing in the future.
        assert_eq!(modified(&site.path(&name)).as_secs(), site.now.as_secs(), "{lives}");
        for (ago, is_there) in [(lives - 5, true), (lives + 5, false)] {
            let changed = SystemTime::now() - Duration::from_secs(ago);
            File::options().write(true).open(site.path(&name)).unwrap().set_modified(changed).unwrap();
            assert_eq!(visitor.edit(|session| session.contains("a")).await.unwrap(), is_there, "{lives}, {ago}");
        }
    }
}

#[test]
fn lifetimes_that_contradict_each_other_are_refused_at_start_up() {
    for seconds in [1440, 7200] {
        let site = Site::new();
        let lifetime = Lifetime::browser().idle(Duration::from_secs(seconds));
        let refused = manager(&site, |store| store.gc_maxlifetime(HOUR), Some(lifetime)).unwrap_err();
        assert!(refused.is_setting() && refused.to_string().contains("leave out gc_maxlifetime"), "{refused}");
    }
}

#[test]
fn a_folder_that_is_not_ours_is_refused_and_so_is_a_file_of_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    if as_somebody_else("files::a_folder_that_is_not_ours_is_refused_and_so_is_a_file_of_somebody_else", folder.path())
    {
        return;
    }
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let error = FilesStore::open(&closed).unwrap_err().to_string();
    assert!(error.contains("not ours to write; run this as the user that PHP runs as"), "{error}");

    // As Debian's: everybody may make files, and nobody may list them.
    let unlisted = folder.path().join("unlisted");
    fs::create_dir(&unlisted).unwrap();
    fs::set_permissions(&unlisted, fs::Permissions::from_mode(0o333)).unwrap();
    pollster::block_on(async {
        let engine = FilesStore::open(&unlisted).unwrap().engine(Shape::Blob).unwrap();
        let now = Timestamp::from(SystemTime::now());
        engine.apply(ID, Guard::Absent, writing("x", now.after(HOUR)), now).await.unwrap();
        engine.end(ID, is("x"), Tombstone::new(Why::Ended, 7, now), now).await.unwrap();
        assert_eq!(engine.purge(100, now).await.unwrap(), 0);
        assert!(unlisted.join(format!("dewar-ended_{ID}")).exists());
        assert_eq!(engine.purge(100, now.after(HOUR)).await.unwrap(), 1);
        assert!(!unlisted.join(format!("dewar-ended_{ID}")).exists());

        let record = unlisted.join(format!("sess_{ID}"));
        fs::write(&record, "x").unwrap();
        fs::set_permissions(&record, fs::Permissions::from_mode(0o000)).unwrap();
        let error = engine.load(ID, now).await.unwrap_err().to_string();
        assert!(error.contains("Permission denied") && !error.contains(ID), "{error}");
    });
}

#[test]
fn a_folder_that_is_missing_or_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, says) in [(folder.path().join("missing"), "No such file"), (file, "no folder")] {
        let error = store::open(&format!("files:{}", path.display())).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("session"), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_goes_away_is_an_error_and_no_empty_session() {
    let site = Site::new();
    site.create(ID, "x").await;
    fs::remove_dir_all(&site.folder).unwrap();
    assert!(site.engine.load(ID, site.now).await.is_err());
    assert!(site.engine.load("no_id", site.now).await.is_err());
    assert!(site.engine.apply(ID, is("x"), site.writing("y"), site.now).await.is_err());
}

#[test]
fn an_address_says_depth_lifetime_and_how_long_a_lock_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |settings: &str| store::open(&format!("files:{}{settings}", folder.path().display()));
    for settings in ["", "?", "?depth=2", "?gc_maxlifetime=60&depth=0&lock_limit=0"] {
        assert!(at(settings).is_ok(), "{settings}");
    }
    for settings in ["?depth=-1", "?depth=17", "?gc_maxlifetime=0", "?dept=1", "?depth"] {
        let error = at(settings).unwrap_err().to_string();
        assert!(error.contains("expected depth=N, gc_maxlifetime=SECONDS or lock_limit=SECONDS"), "{error}");
    }
    assert!(store::open("files:").unwrap_err().to_string().contains("session.save_path"));
    assert!(store::open(&format!("files://{}", folder.path().display())).is_ok());
}

#[tokio::test]
async fn it_never_keeps_sessions_of_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = FilesStore::open(&folder).unwrap();
    let built = SessionManager::builder(Secret::generate()).unwrap().store(store.clone()).build();
    let error = built.expect_err("it is refused").to_string();
    assert!(error.contains("files: keep PHP's sessions and never our own"), "{error}");
    let now = Timestamp::from(SystemTime::now());
    assert!(store.load(&StoreKey::from_digest([7; 32]), now).await.is_err());
    assert!(store.count(now).await.is_err());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
