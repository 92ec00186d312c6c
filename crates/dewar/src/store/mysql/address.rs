//! An address as a configuration holds it, and what it comes to.

use std::{fs, net::IpAddr, time::Duration};

use mysql_async::{ClientIdentity, Opts, OptsBuilder, PoolConstraints, PoolOpts, SslOpts};

use crate::store::StoreError;

/// So that ten processes fit into the 151 connections that a server gives unless it is told otherwise, beside those of an application. A call
/// has one for about a millisecond.
const CONNECTIONS: usize = 10;

/// A connection on which nobody has heard anything for so long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a server's own settings must not decide. How long a lock is waited for is less than the time limit, so that nobody goes on waiting for
/// whom nobody waits.
const SETUP: &str = "\
    SET NAMES utf8mb4, autocommit = 1, sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', completion_type = 'NO_CHAIN', \
    innodb_lock_wait_timeout = 2, lock_wait_timeout = 2, sql_safe_updates = 0, sql_select_limit = 18446744073709551615, \
    sql_big_selects = 1, sql_auto_is_null = 0, max_sort_length = 1024, unique_checks = 1, foreign_key_checks = 1 \
    /*M! , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";

const FORM: &str = "an address is mysql://[user[:password]@]host[:port]/database";

#[derive(Default)]
struct Settings<'a> {
    tls: Option<bool>,
    ca: Option<&'a str>,
    name: Option<&'a str>,
    certificate: Option<&'a str>,
    key: Option<&'a str>,
    connections: Option<usize>,
}

/// No error says more of the address than the setting it is about.
pub(super) fn parse(url: &str) -> Result<Opts, StoreError> {
    let rest = ["mysql://", "mariadb://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| refused(FORM))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // It would be part of a password that reads as a database, a file or a setting.
    if query.contains('@') || place.split_once('/').is_some_and(|(_, database)| database.contains('@')) {
        return Err(refused(
            "there is an @ behind the / of the database, or behind the ?: in a user's name and a password, write / as %2F and ? as %3F",
        ));
    }
    if place.contains('#') {
        return Err(refused("there is a #: in an address it is written as %23"));
    }
    let settings = settings(query)?;
    let opts = Opts::from_url(&format!("mysql://{place}")).map_err(|_| refused(FORM))?;
    if opts.db_name().is_none() {
        return Err(refused("the address names no database: mysql://user@host/DATABASE"));
    }
    if place.rsplit('@').next().is_some_and(|place| place.matches('/').count() > 1) {
        return Err(refused(FORM));
    }
    // A URL has brackets around an IPv6 address.
    let host = opts.ip_or_hostname().trim_start_matches('[').trim_end_matches(']').to_owned();
    let pool = PoolConstraints::new(1, settings.connections.unwrap_or(CONNECTIONS))
        .and_then(|all| PoolConstraints::new(all.max(), all.max()))
        .ok_or_else(|| refused(CONNECTIONS_FORM))?;
    let port = opts.tcp_port();
    let ssl = tls(&settings, is_loopback(&host))?;
    Ok(OptsBuilder::from_opts(opts)
        .ip_or_hostname(host)
        .tcp_port(port)
        .ssl_opts(ssl)
        // Another server of this machine may have the socket that a server in a container names.
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE))
        .setup(vec![SETUP])
        .pool_opts(PoolOpts::new().with_constraints(pool).with_reset_connection(false))
        .into())
}

const CONNECTIONS_FORM: &str = "connections is a number from 1: ?connections=10";

fn settings(query: &str) -> Result<Settings<'_>, StoreError> {
    let mut settings = Settings::default();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("ssl-mode", mode)) => settings.tls = Some(mode_of(mode)?),
            Some(("ssl-ca", file)) => settings.ca = Some(file),
            Some(("ssl-name", name)) => settings.name = Some(name),
            Some(("ssl-cert", file)) => settings.certificate = Some(file),
            Some(("ssl-key", file)) => settings.key = Some(file),
            Some(("connections", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                settings.connections = Some(count.ok_or_else(|| refused(CONNECTIONS_FORM))?);
            }
            _ => {
                let name = setting.split('=').next().unwrap_or_default();
                let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'));
                let which = if is_word { format!("{name:?}") } else { "of that name".into() };
                return Err(refused(&format!(
                    "there is no setting {which}: expected ssl-mode, ssl-ca, ssl-name, ssl-cert, ssl-key or connections"
                )));
            }
        }
    }
    Ok(settings)
}

/// Whether there is TLS. In between, there is none.
fn mode_of(mode: &str) -> Result<bool, StoreError> {
    match mode.to_ascii_lowercase().replace('_', "-").as_str() {
        "disabled" => Ok(false),
        "verify-identity" => Ok(true),
        "preferred" | "required" | "verify-ca" => Err(refused(
            "with that ssl-mode somebody else could pose as the server: write ssl-mode=verify-identity, with ssl-ca=FILE where the \
             authority is your own, and ssl-name=NAME where the certificate is for another name than the host's",
        )),
        _ => Err(refused("ssl-mode is disabled or verify-identity")),
    }
}

/// `None`: without TLS.
fn tls(settings: &Settings<'_>, is_loopback: bool) -> Result<Option<SslOpts>, StoreError> {
    let is_said = settings.ca.or(settings.name).or(settings.certificate).or(settings.key).is_some();
    if !settings.tls.unwrap_or(is_said || !is_loopback) {
        return match is_said {
            true => Err(refused(
                "with ssl-mode=disabled there is no use for the other ssl- settings: leave one or the others out",
            )),
            false => Ok(None),
        };
    }
    choose_cryptography();
    let mut ssl = SslOpts::default().with_danger_tls_hostname_override(settings.name.map(str::to_owned));
    if let Some(file) = settings.ca {
        let authorities = read("ssl-ca", file, "CERTIFICATE")?;
        ssl = ssl.with_root_certs(vec![authorities.into()]).with_disable_built_in_roots(true);
    }
    match (settings.certificate, settings.key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) =
                (read("ssl-cert", certificate, "CERTIFICATE")?, read("ssl-key", key, "PRIVATE KEY")?);
            ssl = ssl.with_client_identity(Some(ClientIdentity::new(certificate.into(), key.into())));
        }
        (None, None) => {}
        _ => return Err(refused("ssl-cert and ssl-key belong together: write both")),
    }
    Ok(Some(ssl))
}

fn read(setting: &str, file: &str, what: &str) -> Result<Vec<u8>, StoreError> {
    let bytes = fs::read(file).map_err(|error| refused(&format!("{setting}: cannot read {file:?}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    if !text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----"))) {
        return Err(refused(&format!("{setting}: {file:?} has no -----BEGIN {what}----- in it")));
    }
    Ok(bytes)
}

/// The client takes the cryptography that the process has chosen; where two are compiled in and none is chosen, it would panic.
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Whoever was faster has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn refused(why: &str) -> StoreError {
    StoreError::new(format!("mysql: {why}"))
}
