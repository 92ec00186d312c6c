//! What an address says: which servers, over TLS or not, who logs in, and how sure a write has to be.

use std::time::Duration;

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use super::tls::{self, Certificates};
use crate::store::StoreError;

/// Where sentinels listen as a rule.
const SENTINEL_PORT: u16 = 26379;

const DEFAULT_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Address {
    pub(super) place: Place,
    /// For TLS, where the address names some. `None`: the system's, and no certificate of our own.
    pub(super) certificates: Option<Certificates>,
    pub(super) wait: Option<Wait>,
}

pub(super) enum Place {
    Server(ConnectionInfo),
    Sentinels(Service),
    /// Some of its nodes.
    Cluster(Vec<ConnectionInfo>),
}

/// A primary that sentinels know by a name.
pub(super) struct Service {
    pub(super) name: String,
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// Who logs in to the primary, and how: the address in it is a sentinel's.
    pub(super) primary: ConnectionInfo,
}

/// How many replicas have to confirm a write, and for how long they are waited for.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    pub(super) replicas: u32,
    pub(super) limit: Duration,
}

/// What the scheme says.
struct Scheme {
    /// The same for a single server.
    one: &'static str,
    has_tls: bool,
    form: Form,
}

#[derive(PartialEq)]
enum Form {
    Server,
    Sentinels,
    Cluster,
    File,
}

impl Address {
    /// # Errors
    ///
    /// They name what is wrong, and never what stands there: it may be a password.
    pub(super) fn parse(text: &str, limit: Duration) -> Result<Self, StoreError> {
        let scheme = Scheme::of(text)?;
        let (text, fragment) = text.split_once('#').map_or((text, None), |(text, fragment)| (text, Some(fragment)));
        check_fragment(fragment)?;
        let (names, query) = text.split_once('?').unwrap_or((text, ""));
        if query.contains('@') {
            return Err(wrong("an @ stands behind the ?; in a password a ? is written %3F, and an @ %40"));
        }
        let settings = Settings::read(&scheme, query)?;
        let tcp = tcp_settings(limit);
        let place = match scheme.form {
            Form::File => Place::Server(settings.speaks(info(text)?.set_tcp_settings(tcp))),
            Form::Server => {
                let parts = Parts::of(names)?;
                let [host] = parts.hosts[..] else {
                    return Err(wrong(
                        "several hosts are sentinels', redis+sentinel://HOST:26379,HOST:26379/SERVICE, or a cluster's, redis+cluster://HOST:6379,HOST:6379",
                    ));
                };
                let one = format!("{}://{}{host}/{}?{query}", scheme.one, parts.user, parts.path);
                Place::Server(settings.speaks(info(&one)?.set_tcp_settings(tcp)))
            }
            Form::Cluster => Place::Cluster(nodes(&scheme, &Parts::of(names)?, query, &settings, &tcp)?),
            Form::Sentinels => Place::Sentinels(Service::read(&scheme, &Parts::of(names)?, query, &settings, &tcp)?),
        };
        let certificates = if scheme.has_tls { settings.certificates()? } else { None };
        Ok(Self { place, certificates, wait: settings.wait()? })
    }
}

/// The nodes of a cluster that are asked first.
fn nodes(
    scheme: &Scheme,
    parts: &Parts<'_>,
    query: &str,
    settings: &Settings,
    tcp: &TcpSettings,
) -> Result<Vec<ConnectionInfo>, StoreError> {
    if !matches!(parts.path, "" | "0") {
        return Err(wrong("a cluster has one database: leave out the number after the hosts"));
    }
    let node = |host: &&str| {
        let found = info(&format!("{}://{}{host}/?{query}", scheme.one, parts.user))?;
        Ok(settings.speaks(found.set_tcp_settings(tcp.clone())))
    };
    parts.hosts.iter().map(node).collect()
}

impl Service {
    fn read(
        scheme: &Scheme,
        parts: &Parts<'_>,
        query: &str,
        settings: &Settings,
        tcp: &TcpSettings,
    ) -> Result<Self, StoreError> {
        let (name, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if name.is_empty() {
            return Err(wrong(
                "name the service after the hosts, as `sentinel monitor` does: redis+sentinel://HOST:26379/SERVICE",
            ));
        }
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = settings.get("sentinel_user") {
            login = login.set_username(user);
        }
        if let Some(password) = settings.get("sentinel_password") {
            login = login.set_password(password);
        }
        let (mut sentinels, mut primary) = (Vec::new(), None);
        for host in &parts.hosts {
            let found = info(&format!("{}://{}{host}/{database}?{query}", scheme.one, parts.user))?;
            let addr = if has_port(host) { found.addr().clone() } else { at_port(found.addr(), SENTINEL_PORT) };
            let found = settings.speaks(found.set_tcp_settings(tcp.clone()));
            let sentinel = found.clone().set_addr(addr).set_redis_settings(login.clone());
            sentinels.push(settings.speaks(sentinel));
            primary = Some(found);
        }
        let primary = primary.ok_or_else(|| wrong("there is no host in it"))?;
        Ok(Self { name: name.to_owned(), sentinels, primary })
    }
}

impl Scheme {
    fn of(text: &str) -> Result<Self, StoreError> {
        let (one, has_tls, form) = match text.split_once(':').map(|(scheme, _)| scheme) {
            Some("redis" | "valkey") => ("redis", false, Form::Server),
            Some("rediss" | "valkeys") => ("rediss", true, Form::Server),
            Some("redis+sentinel" | "valkey+sentinel") => ("redis", false, Form::Sentinels),
            Some("rediss+sentinel" | "valkeys+sentinel") => ("rediss", true, Form::Sentinels),
            Some("redis+cluster" | "valkey+cluster") => ("redis", false, Form::Cluster),
            Some("rediss+cluster" | "valkeys+cluster") => ("rediss", true, Form::Cluster),
            Some("redis+unix" | "valkey+unix" | "unix") => ("redis+unix", false, Form::File),
            _ => {
                return Err(wrong(
                    "it begins with redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster:// or redis+unix://",
                ));
            }
        };
        if has_tls {
            tls::is_there()?;
        }
        Ok(Self { one, has_tls, form })
    }
}

/// `scheme://user@hosts/path`
struct Parts<'a> {
    /// With its `@`, or nothing.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(names: &'a str) -> Result<Self, StoreError> {
        let Some((_, rest)) = names.split_once("://") else {
            return Err(wrong("two slashes and a host follow the scheme: redis://HOST:6379/"));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(wrong("an @ stands behind the /; in a password a / is written %2F, and an @ %40"));
        }
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(wrong("there is no host in it: redis://HOST:6379/"));
        }
        Ok(Self { user, hosts, path: path.trim_end_matches('/') })
    }
}

/// What stands behind the question mark.
struct Settings(Vec<(String, String)>);

impl Settings {
    fn read(scheme: &Scheme, query: &str) -> Result<Self, StoreError> {
        let Some(url) = redis::parse_redis_url(&format!("redis://host/?{query}")) else {
            return Err(wrong("its settings cannot be read"));
        };
        let mut settings: Vec<(String, String)> = Vec::new();
        for (name, value) in url.query_pairs() {
            let is_known = match &*name {
                "wait" | "wait_timeout" if scheme.form == Form::Cluster => {
                    return Err(wrong("wait is not for a cluster: leave it out"));
                }
                "protocol" | "wait" | "wait_timeout" => true,
                "ca" | "cert" | "key" if !scheme.has_tls => {
                    return Err(wrong("ca, cert and key are for TLS: rediss://HOST:PORT/?ca=FILE"));
                }
                "ca" | "cert" | "key" => true,
                "sentinel_user" | "sentinel_password" => scheme.form == Form::Sentinels,
                "db" | "user" | "pass" => scheme.form == Form::File,
                _ => false,
            };
            if !is_known {
                return Err(wrong(format!("it has no setting {name:?}; there are {}", scheme.settings())));
            }
            if settings.iter().any(|(other, _)| *other == name) {
                return Err(wrong(format!("{name} is there twice")));
            }
            settings.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(settings))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// With RESP3 a connection that the server closed while nobody asked is noticed at once, and made again.
    fn speaks(&self, info: ConnectionInfo) -> ConnectionInfo {
        let protocol = match self.get("protocol") {
            Some(_) => info.redis_settings().protocol(),
            None => ProtocolVersion::RESP3,
        };
        let login = info.redis_settings().clone().set_protocol(protocol);
        info.set_redis_settings(login)
    }

    fn certificates(&self) -> Result<Option<Certificates>, StoreError> {
        let pair = match (self.get("cert"), self.get("key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("a client's certificate has its key beside it: ?cert=FILE&key=FILE")),
        };
        tls::read(self.get("ca"), pair)
    }

    fn wait(&self) -> Result<Option<Wait>, StoreError> {
        let number = |name: &str| {
            let number = self.get(name).map(|text| text.parse::<u32>().ok().filter(|number| *number > 0));
            match number {
                Some(None) => Err(wrong(format!("{name} is a whole number from 1 on"))),
                Some(number) => Ok(number),
                None => Ok(None),
            }
        };
        match (number("wait")?, number("wait_timeout")?) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(wrong("wait_timeout is for replicas that are waited for: ?wait=1&wait_timeout=500")),
            (Some(replicas), limit) => {
                let limit = limit.map_or(DEFAULT_WAIT, |limit| Duration::from_millis(limit.into()));
                Ok(Some(Wait { replicas, limit }))
            }
        }
    }
}

impl Scheme {
    fn settings(&self) -> String {
        let mut names = vec!["protocol"];
        if self.form != Form::Cluster {
            names.extend(["wait", "wait_timeout"]);
        }
        if self.has_tls {
            names.extend(["ca", "cert", "key"]);
        }
        match self.form {
            Form::Server | Form::Cluster => {}
            Form::Sentinels => names.extend(["sentinel_user", "sentinel_password"]),
            Form::File => names.extend(["db", "user", "pass"]),
        }
        names.join(", ")
    }
}

fn check_fragment(fragment: Option<&str>) -> Result<(), StoreError> {
    match fragment {
        None | Some("") => Ok(()),
        Some("insecure") => Err(wrong(
            "#insecure would send passwords and sessions to whoever answers; a server with a certificate of your own is rediss://HOST:PORT/?ca=FILE",
        )),
        Some(_) => Err(wrong("nothing follows a #; in a password it is written %23")),
    }
}

/// The address of one server, as the client reads it.
fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(|error| wrong("one of its parts is wrong").because(error))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

/// The same host.
pub(super) fn at_port(addr: &ConnectionAddr, port: u16) -> ConnectionAddr {
    match addr {
        ConnectionAddr::Tcp(host, _) => at(addr, host.clone(), port),
        ConnectionAddr::TcpTls { host, .. } => at(addr, host.clone(), port),
        other => other.clone(),
    }
}

/// Another host, reached in the same way.
pub(super) fn at(way: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match way {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn tcp_settings(limit: Duration) -> TcpSettings {
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
    // A server that vanished without a word is given up within twice the limit.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(2 * limit);
    #[cfg(not(target_os = "linux"))]
    let _ = limit;
    settings
}

pub(super) fn wrong(what: impl std::fmt::Display) -> StoreError {
    StoreError::new(format!("redis: cannot read the address: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, StoreError> {
        Address::parse(text, Duration::from_secs(5))
    }

    fn refused(text: &str) -> String {
        let error = parse(text).map(drop).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        error
    }

    fn service(text: &str) -> Service {
        match parse(text).unwrap().place {
            Place::Sentinels(service) => service,
            Place::Server(_) | Place::Cluster(_) => panic!("{text}"),
        }
    }

    #[test]
    fn an_address_of_one_server_is_read_as_the_client_reads_it() {
        for (text, addr, user, password, database) in [
            ("redis://127.0.0.1/", "127.0.0.1:6379", None, None, 0),
            ("valkey://:hunter2@[::1]:7000/3", "::1:7000", None, Some("hunter2"), 3),
            ("redis://ada:a%40b%23@host.example:1?protocol=resp2", "host.example:1", Some("ada"), Some("a@b#"), 0),
            ("redis+unix:///tmp/r.sock?db=2&user=ada&pass=hunter2", "/tmp/r.sock", Some("ada"), Some("hunter2"), 2),
        ] {
            let Place::Server(info) = parse(text).unwrap().place else { panic!("{text}") };
            let login = info.redis_settings();
            assert_eq!(info.addr().to_string(), addr);
            assert_eq!((login.username(), login.password(), login.db()), (user, password, database), "{text}");
            let is_resp2 = matches!(login.protocol(), ProtocolVersion::RESP2);
            assert_eq!(is_resp2, text.contains("resp2"), "{text}");
        }
    }

    #[test]
    fn an_address_of_sentinels_names_each_of_them_and_the_service() {
        let service = service(
            "redis+sentinel://ada:hunter2@a.example,b.example:7000,[::1]/live/4?sentinel_user=eve&sentinel_password=x%26y",
        );
        assert_eq!(service.name, "live");
        let addrs: Vec<String> = service.sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        assert_eq!(addrs, ["a.example:26379", "b.example:7000", "::1:26379"]);
        for sentinel in &service.sentinels {
            let login = sentinel.redis_settings();
            assert_eq!((login.username(), login.password(), login.db()), (Some("eve"), Some("x&y"), 0));
        }
        let login = service.primary.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("ada"), Some("hunter2"), 4));
    }

    #[test]
    fn an_address_of_a_cluster_is_that_of_each_node() {
        for (text, nodes, password) in [
            ("redis+cluster://a:1", vec!["a:1"], None),
            ("redis+cluster://a:1,b:2/", vec!["a:1", "b:2"], None),
            ("valkey+cluster://u:p%40,@[::1]:1,b/0?protocol=resp2", vec!["::1:1", "b:6379"], Some("p@,")),
        ] {
            let Place::Cluster(read) = parse(text).unwrap().place else { panic!("{text}") };
            assert_eq!(read.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>(), nodes);
            assert!(read.iter().all(|node| node.redis_settings().password() == password), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_an_address_is_said_with_what_to_write_instead() {
        for (text, says) in [
            ("hunter2", "it begins with redis://"),
            ("http://hunter2@host/", "it begins with redis://"),
            ("redis:hunter2", "two slashes and a host"),
            ("redis://:hunter2@/", "there is no host"),
            ("redis://:hunter2@a:1,b:1/", "redis+sentinel://"),
            ("redis+sentinel://:hunter2@a:1,b:1/", "name the service"),
            ("redis+sentinel://:hunter2@a:1,/live", "there is no host"),
            ("redis+cluster://:hunter2@a:1,,b", "there is no host"),
            ("redis+cluster://:hunter2@a:1/2", "a cluster has one database"),
            ("redis+cluster://:hunter2@a:1/?wait=1", "wait is not for a cluster"),
            ("redis://:hunter2@a/x", "Invalid database number"),
            ("redis://a/?timeout=hunter2", "no setting \"timeout\"; there are protocol, wait, wait_timeout"),
            ("redis://a/?sentinel_password=hunter2", "no setting \"sentinel_password\""),
            ("redis://a/?ca=hunter2", "rediss://HOST:PORT/?ca=FILE"),
            ("redis://a/?wait=1&wait=2", "wait is there twice"),
            ("redis://a/?wait=hunter2", "wait is a whole number from 1 on"),
            ("redis://a/?wait=0", "wait is a whole number from 1 on"),
            ("redis://a/?wait=1&wait_timeout=0", "wait_timeout is a whole number from 1 on"),
            ("redis://a/?wait_timeout=5", "?wait=1&wait_timeout=500"),
            ("redis://:a#hunter2@host/", "%23"),
            ("redis://:a?hunter2@host/", "%3F"),
            ("redis+sentinel://:a?hunter2@host/live", "%3F"),
            ("redis+cluster://:a?hunter2@host", "%3F"),
            ("redis://:a/hunter2@host/", "%2F"),
            ("redis+sentinel://:a/hunter2@host/live", "%2F"),
        ] {
            assert!(refused(text).contains(says), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn a_wait_has_its_own_limit() {
        let wait = |text: &str| parse(text).unwrap().wait.map(|wait| (wait.replicas, wait.limit.as_millis()));
        assert_eq!(wait("redis://a/"), None);
        assert_eq!(wait("redis://a/?wait=2"), Some((2, 1000)));
        assert_eq!(wait("redis+sentinel://a/live?wait=1&wait_timeout=250"), Some((1, 250)));
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_that_is_off_is_named_with_the_line_that_adds_it() {
        let line = "the feature `redis-tls` is not enabled: cargo add dewar --features redis-tls";
        assert_eq!(refused("rediss://:hunter2@host/"), line);
        assert_eq!(refused("rediss+sentinel://:hunter2@host/live"), line);
    }

    #[cfg(feature = "redis-tls")]
    #[test]
    fn what_is_wrong_about_tls_is_said_with_what_to_write_instead() {
        for (text, says) in [
            ("rediss://:hunter2@a/#insecure", "rediss://HOST:PORT/?ca=FILE"),
            ("rediss://:hunter2@a/?cert=x", "?cert=FILE&key=FILE"),
            ("rediss://:hunter2@a/?key=x", "?cert=FILE&key=FILE"),
            ("rediss://:hunter2@a/?ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ] {
            assert!(refused(text).contains(says), "{text}: {}", refused(text));
        }
        let Place::Server(info) = parse("rediss://a:7/").unwrap().place else { panic!() };
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, port: 7, .. }));
        for sentinel in service("rediss+sentinel://a,b/live").sentinels {
            assert!(matches!(sentinel.addr(), ConnectionAddr::TcpTls { insecure: false, port: 26379, .. }));
        }
    }
}
