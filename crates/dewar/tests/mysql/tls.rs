//! TLS to MySQL and MariaDB: certificates that openssl makes here, right ones and wrong ones.

use std::{path::Path, process::Command};

use crate::support::{
    mysql_server::{Server, is_mariadb},
    stores::{Directory, NOW},
};
use dewar::store::{SessionStore, mysql::MysqlStore};

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `NAME.pem` and `NAME.key`, signed by `authority.pem`.
fn sign(directory: &Path, authority: &str, name: &str, extension: &str) {
    std::fs::write(directory.join(format!("{name}.ext")), extension).unwrap();
    openssl(directory, &format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    openssl(
        directory,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -out {name}.pem \
             -extfile {name}.ext"
        ),
    );
}

/// Two authorities; a server's certificate for this machine and one for another host, and a client's, all by the first.
fn certificates() -> Directory {
    let directory = Directory::new();
    let path = directory.path();
    for authority in ["authority", "stranger"] {
        openssl(
            path,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {authority}.key -out {authority}.pem -subj /CN={authority}"
            ),
        );
    }
    sign(path, "authority", "here", "subjectAltName=IP:127.0.0.1,DNS:localhost");
    sign(path, "authority", "elsewhere", "subjectAltName=DNS:elsewhere.test");
    sign(path, "authority", "client", "extendedKeyUsage=clientAuth");
    directory
}

async fn server(certificates: &Directory, name: &str) -> Server {
    let file = |setting: &str, file: &str| format!("--{setting}={}", certificates.path().join(file).display());
    let settings = [
        file("ssl-ca", "authority.pem"),
        file("ssl-cert", &format!("{name}.pem")),
        file("ssl-key", &format!("{name}.key")),
    ];
    let server = Server::start(&settings.each_ref().map(String::as_str)).await;
    // Nobody gets in without.
    server.run("ALTER USER dewar@'%' REQUIRE SSL").await;
    server
}

async fn asked(server: &Server, settings: &str) -> Result<(), String> {
    let store = MysqlStore::open(&format!("{}?{settings}", server.url())).unwrap();
    store.ping(NOW).await.map_err(|error| error.to_string())
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_is_who_its_certificate_says_or_nothing_is_said_to_it() {
    let certificates = certificates();
    let path = certificates.path().display();
    let (right, wrong) = (format!("ssl-ca={path}/authority.pem"), format!("ssl-ca={path}/stranger.pem"));
    let here = server(&certificates, "here").await;
    asked(&here, &right).await.unwrap();
    asked(&here, &format!("ssl-mode=verify-identity&{right}")).await.unwrap();
    let by_name = here.url().replace("127.0.0.1", "localhost");
    MysqlStore::open(&format!("{by_name}?{right}")).unwrap().ping(NOW).await.unwrap();
    for settings in [wrong.as_str(), "ssl-mode=verify-identity"] {
        let error = asked(&here, settings).await.unwrap_err();
        assert!(error.contains("ssl-ca=FILE") && error.contains("certificate"), "{settings}: {error}");
    }
    let error = asked(&here, "ssl-mode=disabled").await.unwrap_err();
    assert!(error.contains("Access denied"), "{error}");

    let elsewhere = server(&certificates, "elsewhere").await;
    let error = asked(&elsewhere, &right).await.unwrap_err();
    assert!(error.contains("certificate") && error.contains("elsewhere.test"), "{error}");
    asked(&elsewhere, &format!("ssl-name=elsewhere.test&{right}")).await.unwrap();
    let error = asked(&elsewhere, &format!("ssl-name=elsewhere.test&{wrong}")).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_that_asks_for_our_certificate_gets_it() {
    let certificates = certificates();
    let path = certificates.path().display();
    let server = server(&certificates, "here").await;
    server.run("ALTER USER dewar@'%' REQUIRE X509").await;
    let ours = format!("ssl-ca={path}/authority.pem&ssl-cert={path}/client.pem&ssl-key={path}/client.key");
    asked(&server, &ours).await.unwrap();
    let error = asked(&server, &format!("ssl-ca={path}/authority.pem")).await.unwrap_err();
    assert!(error.contains("Access denied"), "{error}");
    let half = format!("{}?ssl-ca={path}/authority.pem&ssl-cert={path}/client.pem", server.url());
    assert!(MysqlStore::open(&half).unwrap_err().to_string().contains("belong together"));
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let without = if is_mariadb() { "--skip-ssl" } else { "--tls-version=" };
    let server = Server::start(&[without]).await;
    let error = asked(&server, "ssl-mode=verify-identity").await.unwrap_err();
    assert!(error.contains("offers no TLS") && error.contains("ssl-mode=disabled"), "{error}");
    asked(&server, "ssl-mode=disabled").await.unwrap();
}
