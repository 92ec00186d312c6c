//! Addresses: `postgres://user:password@host:port,host:port/database?setting=value`, as libpq has them, with settings of our own.
//!
//! No part of an address is ever in a message but the names of its settings: a password may be anywhere in one that is mistyped.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use super::{schema::Schema, tls::Tls};
use crate::store::StoreError;

/// What the client itself knows.
const CLIENTS: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

const OWN: &str = "pool, schema, unlogged, sslmode, sslrootcert, sslcert, sslkey";

pub(super) struct Address {
    /// One for each host, in the order of the address.
    pub(super) servers: Vec<Config>,
    pub(super) tls: Tls,
    pub(super) schema: Schema,
    pub(super) pool: Option<NonZeroUsize>,
}

/// Whether the connection is encrypted. What is encrypted is verified, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Off,
    On,
    /// Where a server is on another machine.
    Elsewhere,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (place, settings) = url.split_once('?').unwrap_or((url, ""));
        // The client takes what follows the first @ for the host, which is asked of DNS and named in messages.
        if place.matches('@').count() > 1 {
            return Err(refused(
                "it has more than one @: one in a user's name, a password or a database is written %40",
            ));
        }
        if settings.contains('@') {
            return Err(refused("where a password has a ?, it is written %3F; and an @ in a setting is %40"));
        }
        let (mut schema, mut pool, mut encryption) = (Schema::default(), None, Encryption::Elsewhere);
        let (mut roots, mut certificate, mut key) = (None, None, None);
        let mut clients = Vec::new();
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (name, encoded) = setting.split_once('=').ok_or_else(|| refused("a setting is name=value"))?;
            let value = percent_decode_str(encoded).decode_utf8();
            let value = value.map_err(|_| refused("a setting is UTF-8"))?;
            let file = || Some(PathBuf::from(&*value));
            match name {
                "schema" => schema = schema.named(&value)?,
                "unlogged" => schema = schema.unlogged(yes_or_no(&value)?),
                "pool" => {
                    let size = value.parse().map_err(|_| refused("pool is a number of connections, 1 or more"))?;
                    pool = Some(size);
                }
                "sslmode" => encryption = Encryption::of(&value)?,
                "sslrootcert" if value == "system" => roots = None,
                "sslrootcert" => roots = file(),
                "sslcert" => certificate = file(),
                "sslkey" => key = file(),
                _ if CLIENTS.contains(&name) => clients.push(setting),
                _ => {
                    return Err(refused(&format!(
                        "it has an unknown setting; there are {OWN}, {}",
                        CLIENTS.join(", ")
                    )));
                }
            }
        }
        let config = config(place, &clients)?;
        let servers = servers(&config)?;
        let is_encrypted = match encryption {
            Encryption::Elsewhere => !servers.iter().all(is_here),
            chosen => chosen == Encryption::On,
        };
        if !is_encrypted && (roots.is_some() || certificate.is_some() || key.is_some()) {
            return Err(refused(
                "it names certificates, and its connections are not encrypted: add sslmode=verify-full",
            ));
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(refused("sslcert and sslkey belong together")),
        };
        let mode = if is_encrypted { SslMode::Require } else { SslMode::Disable };
        let identity = identity.as_ref().map(|(certificate, key)| (Path::new(certificate), Path::new(key)));
        let tls = if is_encrypted { Tls::new(roots.as_deref(), identity)? } else { Tls::none() };
        let servers = servers.into_iter().map(|mut server| server.ssl_mode(mode).clone()).collect();
        Ok(Self { servers, tls, schema, pool })
    }
}

impl Encryption {
    fn of(mode: &str) -> Result<Self, StoreError> {
        match mode {
            "disable" => Ok(Self::Off),
            "require" | "verify-ca" | "verify-full" => Ok(Self::On),
            "allow" | "prefer" => Err(refused(
                "sslmode=allow and sslmode=prefer let whoever is between turn the encryption off: write verify-full, or disable",
            )),
            _ => Err(refused("sslmode is verify-full or disable")),
        }
    }
}

fn config(place: &str, settings: &[&str]) -> Result<Config, StoreError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| place.starts_with(scheme)) {
        return Err(refused("it begins with postgres://"));
    }
    // The client's own message may have a part of the address in it.
    let config = Config::from_str(&format!("{place}?{}", settings.join("&"))).map_err(|_| {
        refused(
            "expected postgres://user:password@host:port/database?setting=value; special characters in a part of it are written %40",
        )
    })?;
    match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadOnly => {
            Err(refused("target_session_attrs=read-only is no place for sessions, which are written"))
        }
        _ => Ok(config),
    }
}

/// One configuration for each host, so that each has a time limit of its own.
fn servers(config: &Config) -> Result<Vec<Config>, StoreError> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(refused("it names no host; a Unix socket's directory is ?host=/var/run/postgresql"));
    }
    let fits = |length: usize| length == count || length == 0;
    if !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return Err(refused("it has not as many ports and addresses as hosts"));
    }
    Ok((0..count)
        .map(|number| {
            let mut server = shared(config);
            match hosts.get(number) {
                Some(Host::Tcp(name)) => drop(server.host(name)),
                #[cfg(unix)]
                Some(Host::Unix(path)) => drop(server.host_path(path)),
                None => {}
            }
            if let Some(address) = addresses.get(number) {
                server.hostaddr(*address);
            }
            server.port(ports.get(number).or(ports.first()).copied().unwrap_or(5432));
            server
        })
        .collect())
}

/// Everything but the place. A replica that only reads is passed over, unless the address says otherwise.
fn shared(config: &Config) -> Config {
    let mut server = Config::new();
    if let Some(user) = config.get_user() {
        server.user(user);
    }
    if let Some(password) = config.get_password() {
        server.password(password);
    }
    if let Some(database) = config.get_dbname() {
        server.dbname(database);
    }
    if let Some(options) = config.get_options() {
        server.options(options);
    }
    if let Some(limit) = config.get_connect_timeout() {
        server.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        server.tcp_user_timeout(*limit);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        server.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        server.keepalives_retries(retries);
    }
    // The client's own two hours are longer than most firewalls remember a connection.
    let idle = config.get_keepalives_idle().min(Duration::from_secs(30));
    server.keepalives(config.get_keepalives()).keepalives_idle(idle);
    server.application_name(config.get_application_name().unwrap_or("dewar"));
    server.channel_binding(config.get_channel_binding()).ssl_negotiation(config.get_ssl_negotiation());
    server.target_session_attrs(TargetSessionAttrs::ReadWrite);
    server
}

/// Whether the server is on this machine.
fn is_here(server: &Config) -> bool {
    let is_loopback = |address: &IpAddr| address.is_loopback();
    match (server.get_hostaddrs(), server.get_hosts()) {
        ([address], _) => is_loopback(address),
        (_, [Host::Tcp(name)]) => name == "localhost" || name.parse().is_ok_and(|address| is_loopback(&address)),
        #[cfg(unix)]
        (_, [Host::Unix(_)]) => true,
        _ => false,
    }
}

/// What a message calls it: `db1:5432`.
pub(super) fn name(server: &Config) -> String {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match (server.get_hosts(), server.get_hostaddrs()) {
        ([Host::Tcp(name)], _) => format!("{name}:{port}"),
        #[cfg(unix)]
        ([Host::Unix(path)], _) => format!("{}:{port}", path.display()),
        (_, [address]) => format!("{address}:{port}"),
        _ => port.to_string(),
    }
}

fn yes_or_no(value: &str) -> Result<bool, StoreError> {
    value.parse().map_err(|_| refused("unlogged is true or false"))
}

fn refused(why: &str) -> StoreError {
    StoreError::new(format!("postgres: cannot use this address: {why}"))
}
