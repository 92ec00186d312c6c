//! Addresses of PostgreSQL: what they may say, and that nobody is between.

use std::{fs, path::Path, process::Command};

use crate::support::{
    postgres::run,
    postgres_server::{Server, give},
    stores::{Directory, NOW},
};
use dewar::store::{SessionAdmin, postgres::PostgresStore};

const PASSWORD: &str = "s3cret-of-ada";

async fn refused(url: &str) -> String {
    let error = match PostgresStore::open(url) {
        Err(error) => error,
        Ok(store) => store.count(NOW).await.expect_err(url),
    };
    let (shown, full) = (error.to_string(), format!("{error:?}"));
    for part in ["s3cret", "of-ada"] {
        assert!(!shown.contains(part) && !full.contains(part), "{shown}");
    }
    shown
}

#[tokio::test]
async fn an_address_that_cannot_be_meant_is_refused_with_what_to_write() {
    for (url, says) in [
        ("mysql://db/app", "begins with postgres://"),
        ("postgres://", "names no host"),
        ("postgres:///app", "?host=/var/run/postgresql"),
        ("postgres://db/app?sslmode=prefer", "verify-full"),
        ("postgres://db/app?sslmode=allow", "verify-full"),
        ("postgres://db/app?sslmode=yes", "verify-full or disable"),
        ("postgres://db/app?sslmod=require", "unknown setting"),
        ("postgres://db/app?pool=0", "1 or more"),
        ("postgres://db/app?pool=many", "1 or more"),
        ("postgres://db/app?unlogged=1", "true or false"),
        ("postgres://db/app?schema=My%20Schema", "a-z, 0-9 and _"),
        ("postgres://db/app?schema=a\";DROP", "a-z, 0-9 and _"),
        ("postgres://db/app?schema", "name=value"),
        ("postgres://db/app?target_session_attrs=read-only", "which are written"),
        ("postgres://db/app?sslcert=/no/such/file", "belong together"),
        ("postgres://localhost/app?sslrootcert=/no/such/file", "sslmode=verify-full"),
        ("postgres://db/app?sslrootcert=/no/such/file", "sslrootcert=/no/such/file"),
        ("postgres://db:port/app?sslmode=disable", "postgres://user:password@host"),
        ("postgres://ada:p@ss@db/app", "written %40"),
        ("postgres://ada:p@db/a@b", "written %40"),
        ("postgres://ada:p?ss@db/app", "written %3F"),
        ("postgres://ada:p@x?ss@db/app", "written %3F"),
        ("postgres://db/app?port=1,2&sslmode=disable", "as many ports"),
    ] {
        let error = refused(url).await;
        assert!(error.contains(says), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_password_is_in_no_message_wherever_the_address_is_mistyped() {
    for url in [
        format!("postgres://ada:{PASSWORD}@127.0.0.1:1/app"),
        format!("postgres://ada:?{PASSWORD}@127.0.0.1:1/app"),
        format!("postgres://ada:p@{PASSWORD}@127.0.0.1:1/app"),
        format!("postgres://ada:p@{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@{PASSWORD}:x@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@{PASSWORD},x@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@/{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@127.0.0.1:1/{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:{PASSWORD}@@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@127.0.0.1:1?{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p@127.0.0.1:1?sslrootcert={PASSWORD}@127.0.0.1:1/app"),
        format!("postgres://ada:p?sslrootcert={PASSWORD}@127.0.0.1:1/app"),
        format!("postgres://ada:1/{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:1 {PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:1:{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:1#{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:%{PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:p&host={PASSWORD}@127.0.0.1:1/app?sslmode=disable"),
        format!("postgres://ada:x?{PASSWORD}=1@127.0.0.1:1/app"),
        format!("postgres://ada:/{PASSWORD}@127.0.0.1:nothing/app"),
        format!("postgres://ada:{PASSWORD}:x/127.0.0.1:1/app"),
        format!("postgres://ada:x#{PASSWORD}@127.0.0.1:1/app?sslmode={PASSWORD}"),
        format!("postgres://127.0.0.1:1/app?password={PASSWORD}"),
        format!("postgres://127.0.0.1:1/app?passwort={PASSWORD}"),
        format!("postgres://127.0.0.1:1/app?{PASSWORD}"),
        format!("postgres://127.0.0.1:1/app?{PASSWORD}=1"),
        format!("postgres://127.0.0.1:1/app?connect_timeout={PASSWORD}"),
        format!("postgresql:/ada:{PASSWORD}@127.0.0.1:1/app"),
        PASSWORD.to_owned(),
    ] {
        refused(&url).await;
    }
    let store = PostgresStore::open(&format!("postgres://ada:{PASSWORD}@127.0.0.1/app")).unwrap();
    assert!(!format!("{store:?}").contains(PASSWORD));
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_password_that_is_wrong_is_said_to_be_and_not_shown() {
    let server = Server::start(&["password_encryption=scram-sha-256"]);
    run(&server, "CREATE ROLE ada LOGIN SUPERUSER PASSWORD 'right'").await;
    server.admit("host all ada 127.0.0.1/32 scram-sha-256");
    let with = |password: &str| server.url().replace("live@", &format!("ada:{password}@"));
    let error = refused(&with(PASSWORD)).await;
    assert!(error.contains("password authentication failed"), "{error}");
    assert_eq!(PostgresStore::open(&with("right")).unwrap().count(NOW).await.unwrap(), 0);
    let socket =
        format!("postgres:///postgres?user=ada&password=x&port={}&host={}", server.port(), server.path().display());
    assert_eq!(PostgresStore::open(&socket).unwrap().count(NOW).await.unwrap(), 0, "on the socket nobody asks");
}

// Encryption.

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and what it has signed.
struct Authority(Directory);

impl Authority {
    fn new() -> Self {
        let directory = Directory::new();
        let folder = directory.path();
        openssl(
            folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority",
        );
        Self(directory)
    }

    fn signs(&self, file: &str, subject: &str, names: &str) {
        let folder = self.0.path();
        openssl(
            folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {file}.key -out {file}.csr -subj /CN={subject}"
            ),
        );
        fs::write(folder.join("names"), format!("subjectAltName={names}\n")).unwrap();
        openssl(
            folder,
            &format!(
                "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out {file}.crt -extfile names"
            ),
        );
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    /// A server with this certificate, which speaks to nobody without encryption.
    fn server(&self, certificate: &str) -> Server {
        let (cert, key) = (self.path(&format!("{certificate}.crt")), self.path(&format!("{certificate}.key")));
        give(self.0.path());
        give(Path::new(&key));
        give(Path::new(&cert));
        give(Path::new(&self.path("ca.crt")));
        let server = Server::start(&[
            "ssl=on",
            &format!("ssl_cert_file={cert}"),
            &format!("ssl_key_file={key}"),
            &format!("ssl_ca_file={}", self.path("ca.crt")),
        ]);
        server.admit("hostssl all live 127.0.0.1/32 trust\nhostssl all client 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 reject");
        server
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn only_the_server_that_the_authority_vouches_for_is_spoken_to() {
    let (ours, others) = (Authority::new(), Authority::new());
    ours.signs("server", "db", "DNS:localhost,IP:127.0.0.1");
    ours.signs("elsewhere", "db", "DNS:db.elsewhere.example");
    ours.signs("client", "client", "DNS:client");
    others.signs("client", "client", "DNS:client");
    let roots = ours.path("ca.crt");
    let server = ours.server("server");
    let url = |settings: &str| format!("{}?{settings}", server.url());
    let count =
        async |url: String| PostgresStore::open(&url).unwrap().count(NOW).await.map_err(|error| error.to_string());

    for mode in ["verify-full", "verify-ca", "require"] {
        assert_eq!(count(url(&format!("sslmode={mode}&sslrootcert={roots}"))).await.unwrap(), 0);
        let error = count(url(&format!("sslmode={mode}"))).await.unwrap_err();
        assert!(error.contains("no authority that is trusted here"), "of the system: {error}");
        let error = count(url(&format!("sslmode={mode}&sslrootcert={}", others.path("ca.crt")))).await.unwrap_err();
        assert!(error.contains("no authority that is trusted here") && error.contains("sslrootcert"), "{error}");
    }
    let by_name = url(&format!("sslmode=verify-full&sslrootcert={roots}")).replace("127.0.0.1", "localhost");
    assert_eq!(count(by_name).await.unwrap(), 0);
    let error = count(url("sslmode=disable")).await.unwrap_err();
    assert!(error.contains("no encryption"), "{error}");

    // A server elsewhere is spoken to with encryption alone.
    let elsewhere =
        url(&format!("sslrootcert={roots}&hostaddr=127.0.0.1")).replacen("127.0.0.1:", "db.elsewhere.example:", 1);
    let error = PostgresStore::open(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("sslmode=verify-full"), "by its address it is this machine: {error}");
    let elsewhere = format!("{elsewhere}&sslmode=verify-full");
    let error = count(elsewhere.clone()).await.unwrap_err();
    assert!(error.contains("another host's"), "{error}");
    drop(server);
    let named = ours.server("elsewhere");
    let port = |url: &str, server: &Server| {
        let (before, after) = url.split_once("example:").unwrap();
        format!("{before}example:{}{}", server.port(), after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    };
    assert_eq!(count(port(&elsewhere, &named)).await.unwrap(), 0);

    // Who shows a certificate.
    run_as_admin(&named, &ours, "CREATE ROLE client SUPERUSER LOGIN").await;
    let as_client = |identity: &Authority| {
        let url = port(&elsewhere, &named).replace("live@", "client@");
        format!("{url}&sslcert={}&sslkey={}", identity.path("client.crt"), identity.path("client.key"))
    };
    assert_eq!(count(as_client(&ours)).await.unwrap(), 0);
    count(as_client(&others)).await.unwrap_err();
    count(port(&elsewhere, &named).replace("live@", "client@")).await.unwrap_err();
}

/// Over the socket, where nobody needs a certificate.
async fn run_as_admin(server: &Server, _: &Authority, sql: &str) {
    let config = format!("host={} port={} user=live dbname=postgres", server.path().display(), server.port());
    crate::support::postgres::client(&config).await.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_server_elsewhere_is_never_spoken_to_without_encryption() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // Whoever is between says that it cannot encrypt.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        stream.read_exact(&mut asked).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        rest
    });
    let url =
        format!("postgres://ada:{PASSWORD}@db.elsewhere.example:{port}/app?hostaddr=127.0.0.1&sslmode=verify-full");
    let error = refused(&url).await;
    assert!(error.contains("does not support TLS"), "{error}");
    assert!(said.await.unwrap().is_empty(), "nothing was said to it");
}
