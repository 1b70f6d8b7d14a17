//! Extracts the servers from the addresses in a function's resources. The sandbox allows connections to them, and the
//! supervisor resolves their names for the worker.

use std::path::PathBuf;

use serde_json::Value;

use crate::secret::Filled;

/// A server on the network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name, or IP address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Filled {
    /// Whether the address of any resource requires an encrypted connection. The worker then needs CA certificates.
    pub fn is_encrypted(&self) -> bool {
        self.resources.values().any(wants_encryption)
    }

    /// The servers of all resources, sorted, each once. Addresses of Unix sockets and texts that are not addresses
    /// yield no server.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut found = Vec::new();
        self.resources
            .values()
            .for_each(|value| collect(value, &mut found));
        found.sort();
        found.dedup();
        found
    }
}

impl Filled {
    /// The directories of the Unix sockets that resources name by absolute paths, sorted, each once.
    pub fn socket_directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.resources
            .values()
            .for_each(|value| collect_directories(value, &mut found));
        found.sort();
        found.dedup();
        found
    }
}

fn collect_directories(value: &Value, found: &mut Vec<PathBuf>) {
    match value {
        Value::String(text) => found.extend(socket_directories(text)),
        Value::Object(map) => map.values().for_each(|one| collect_directories(one, found)),
        Value::Array(list) => list.iter().for_each(|one| collect_directories(one, found)),
        _ => {}
    }
}

/// The socket directories of one address. libpq's `host` is the directory itself: as `host=...` in a list of words or
/// in the query, or with `%2F` as the host of the URL. In `unix:///path` and `redis+unix:///path` the path is the
/// socket file.
fn socket_directories(address: &str) -> Vec<PathBuf> {
    let hosts = |words: &mut dyn Iterator<Item = &str>| {
        let hosts = words.filter_map(|word| word.strip_prefix("host=").map(str::to_owned));
        hosts.collect::<Vec<_>>()
    };
    let named: Vec<String> = match address.split_once("://") {
        None => hosts(&mut address.split_whitespace()),
        Some(("postgres" | "postgresql", rest)) => {
            let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
            let authority = authority.split('/').next().unwrap_or_default();
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            let mut named = hosts(&mut query.split('&'));
            named.push(host.to_owned());
            named
        }
        Some((scheme, rest)) if scheme == "unix" || scheme.ends_with("+unix") => {
            let path = rest.split(['?', '#']).next().unwrap_or(rest);
            let directory = path
                .rsplit_once('/')
                .map(|(directory, _)| directory.to_owned());
            directory.into_iter().collect()
        }
        Some(_) => return Vec::new(),
    };
    let named = named.iter().flat_map(|list| list.split(','));
    let paths = named.map(|one| {
        one.trim_matches('\'')
            .replace("%2F", "/")
            .replace("%2f", "/")
    });
    // The root directory is not allowed as a socket directory.
    let absolute = paths.filter(|path| path.starts_with('/') && path.len() > 1);
    absolute.map(PathBuf::from).collect()
}

fn wants_encryption(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let schemes = ["rediss://", "valkeys://", "https://", "wss://"];
            schemes.iter().any(|scheme| text.starts_with(scheme))
                || text.contains("sslmode=require")
                || text.contains("sslmode=verify")
        }
        Value::Object(map) => map.values().any(wants_encryption),
        Value::Array(list) => list.iter().any(wants_encryption),
        _ => false,
    }
}

fn collect(value: &Value, found: &mut Vec<Endpoint>) {
    match value {
        Value::String(text) => found.extend(endpoints(text)),
        Value::Object(map) => map.values().for_each(|one| collect(one, found)),
        Value::Array(list) => list.iter().for_each(|one| collect(one, found)),
        _ => {}
    }
}

/// The servers of one address: `scheme://user:password@host:port,host:port/path?host=...`, libpq's words
/// `host=... port=...`, or `host:port`.
fn endpoints(address: &str) -> Vec<Endpoint> {
    let Some((scheme, rest)) = address.split_once("://") else {
        return match address.contains('=') {
            true => of_words(address.split_whitespace()),
            false => split_port(address)
                .and_then(|(host, port)| endpoint(host, port?))
                .into_iter()
                .collect(),
        };
    };
    let default = match scheme {
        "postgres" | "postgresql" => Some(5432),
        "redis" | "rediss" | "valkey" | "valkeys" => Some(6379),
        "memcache" | "memcached" | "tcp" => Some(11211),
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    let mut found: Vec<Endpoint> = hosts
        .split(',')
        .filter_map(|one| {
            let (host, port) = split_port(one)?;
            endpoint(host, port.or(default)?)
        })
        .collect();
    if matches!(scheme, "postgres" | "postgresql")
        && let Some((_, query)) = rest.split_once('?')
    {
        found.extend(of_words(query.split('&')));
    }
    found
}

/// The servers in libpq's parameters.
fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Endpoint> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let list = value.trim_matches('\'').split(',');
        match name {
            "host" | "hostaddr" => hosts.extend(list),
            "port" => ports.extend(list.filter_map(|port| port.parse::<u16>().ok())),
            _ => {}
        }
    }
    if ports.is_empty() {
        ports.push(5432);
    }
    // Each host may have its own port. The sandbox needs only the set of allowed pairs, so every host gets every port.
    let all = hosts.iter().flat_map(|host| {
        let ports = ports.iter();
        ports.filter_map(move |port| endpoint(host, *port))
    });
    all.collect()
}

/// Splits `host`, `host:port`, `[address]` or `[address]:port` into host and port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        return Some((host, port));
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// Creates an endpoint, or returns `None` if `host` is not a host: an empty text or the path of a Unix socket.
fn endpoint(host: &str, port: u16) -> Option<Endpoint> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let named = host.contains(|c: char| c.is_ascii_alphanumeric() || c == ':');
    (named && host.chars().all(good)).then(|| Endpoint {
        host: host.to_ascii_lowercase(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expect: &[(&str, u16)]) {
        let found = endpoints(address);
        let found: Vec<(&str, u16)> = found
            .iter()
            .map(|one| (one.host.as_str(), one.port))
            .collect();
        assert_eq!(found, expect, "{address}");
    }

    #[test]
    fn addresses_of_every_kind_name_their_servers() {
        check("postgres://u:p@db.example/x", &[("db.example", 5432)]);
        check(
            "postgresql://u:p%40q@DB.example:6000/x?sslmode=require",
            &[("db.example", 6000)],
        );
        check(
            "postgres://u@a:1,b:2,c/x",
            &[("a", 1), ("b", 2), ("c", 5432)],
        );
        check(
            "postgres://u@/x?host=db1,db2&port=7",
            &[("db1", 7), ("db2", 7)],
        );
        check(
            "host=db.example user=u password=p dbname=x",
            &[("db.example", 5432)],
        );
        check("user=u host='::1' port=7", &[("::1", 7)]);
        check("redis://:secret@[::1]:6380/0", &[("::1", 6380)]);
        check("rediss://cache", &[("cache", 6379)]);
        check("memcache://127.0.0.1", &[("127.0.0.1", 11211)]);
        check("cache.example:11211", &[("cache.example", 11211)]);
        check("https://api.example/v1", &[("api.example", 443)]);
    }

    #[test]
    fn addresses_that_want_encryption_are_known() {
        let wants = |address: &str| wants_encryption(&serde_json::json!({ "kind": address }));
        assert!(wants("rediss://cache"));
        assert!(wants("postgres://u@h/x?sslmode=require"));
        assert!(wants("host=h user=u sslmode=require"));
        assert!(!wants("postgres://u@h/x?sslmode=prefer"));
        assert!(!wants("redis://cache"));
    }

    #[test]
    fn unix_sockets_are_in_directories() {
        let check = |address: &str, expect: &[&str]| {
            let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(socket_directories(address), expect, "{address}");
        };
        check(
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/x",
            &["/var/run/postgresql"],
        );
        check("postgres://u@/x?user=a&host=/run/pg", &["/run/pg"]);
        check("host='/run/pg' user=u", &["/run/pg"]);
        check("host=/run/a,/run/b,c", &["/run/a", "/run/b"]);
        check("unix:///run/memcached.sock", &["/run"]);
        check("redis+unix:///run/redis/r.sock?db=1", &["/run/redis"]);
        for none in [
            "unix:///r.sock",
            "unix://r",
            "redis://h/1",
            "https://h/a",
            "",
            "host=h",
        ] {
            check(none, &[]);
        }
    }

    #[test]
    fn unix_sockets_and_other_text_name_none() {
        check("postgres://u@%2Fvar%2Frun%2Fpostgresql/x", &[]);
        check("host=/var/run/postgresql user=u", &[]);
        check("unix:///run/memcached.sock", &[]);
        check("redis+unix:///run/redis.sock", &[]);
        check("unknown://host/x", &[]);
        for text in [
            "",
            "postgres://...",
            "text",
            "a:b",
            "a:99999",
            "[::1",
            "://",
            "=",
            "host=",
        ] {
            check(text, &[]);
        }
    }
}
