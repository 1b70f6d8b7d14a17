//! The target of a request: host, path and query, parsed and validated. Pure functions.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{Method, Version};

/// The target of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// In lower case, without port and trailing dot. Empty if an HTTP/1.0 client sends none.
    pub host: Cow<'a, str>,
    /// As the client sent it, with the port.
    pub authority: &'a str,
    /// As the client sent it, percent-encoded.
    pub path: &'a str,
    /// The part after `?`.
    pub query: &'a str,
}

/// Why a request has no valid target. The text is sent to the client.
pub type BadTarget = &'static str;

/// The header fields that the gateway needs itself, collected in one pass.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    /// Approximate size of the head in HTTP/1.1: target, names, values, separators.
    pub bytes: u64,
    /// `Content-Length`, if it is a number.
    pub length: Option<u64>,
    /// Whether there is a `Connection` field.
    pub connection: bool,
    /// The `traceparent` field (W3C trace context).
    pub trace: Option<&'a HeaderValue>,
    host: Option<&'a HeaderValue>,
    hosts: usize,
}

impl<'a> Fields<'a> {
    /// Collects the fields of a request.
    pub fn of(parts: &'a Parts) -> Fields<'a> {
        let target = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        let mut fields = Fields {
            bytes: target as u64,
            ..Fields::default()
        };
        for (name, value) in &parts.headers {
            fields.bytes += (name.as_str().len() + value.len() + 4) as u64;
            if *name == HOST {
                fields.host = Some(value);
                fields.hosts += 1;
            } else if *name == CONNECTION {
                fields.connection = true;
            } else if *name == CONTENT_LENGTH {
                fields.length = value.to_str().ok().and_then(|text| text.parse().ok());
            } else if name.as_str() == "traceparent" {
                fields.trace = Some(value);
            }
        }
        fields
    }
}

impl<'a> Target<'a> {
    /// Parses and validates the target of a request.
    pub fn of(parts: &'a Parts, fields: &Fields<'a>) -> Result<Target<'a>, BadTarget> {
        let authority = authority(parts, fields)?;
        let host = host_of(authority)?;
        if parts.method == Method::CONNECT {
            return Err("CONNECT is for proxies");
        }
        Ok(Target {
            host,
            authority,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
        })
    }
}

/// The requested host and port: from the request target if it contains them (RFC 9112, section 3.2.2), otherwise from
/// the only `Host` field.
fn authority<'a>(parts: &'a Parts, fields: &Fields<'a>) -> Result<&'a str, BadTarget> {
    if fields.hosts > 1 {
        return Err("the request has more than one Host");
    }
    if let Some(authority) = parts.uri.authority() {
        let authority = authority.as_str();
        if authority.contains('@') {
            return Err("the target names a user");
        }
        if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
            return Err("the target is of another scheme than http and https");
        }
        return Ok(authority);
    }
    match fields.host {
        Some(value) => value.to_str().map_err(|_| "Host is not ASCII"),
        None if parts.version < Version::HTTP_11 => Ok(""),
        None => Err("the request has no Host"),
    }
}

/// The host without its port, in lower case.
fn host_of(authority: &str) -> Result<Cow<'_, str>, BadTarget> {
    // Fast path for nearly every request: the host needs no change, and at most a port is removed.
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let end = authority
        .bytes()
        .position(|byte| !plain(&byte))
        .unwrap_or(authority.len());
    let (host, port) = authority.split_at(end);
    let is_port = |port: &[u8]| port.len() <= 6 && port[1..].iter().all(u8::is_ascii_digit);
    let port_only = port.is_empty() || port.as_bytes()[0] == b':' && is_port(port.as_bytes());
    if port_only && !host.ends_with('.') {
        return Ok(Cow::Borrowed(host));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or("Host has an open bracket")?;
            let (host, after) = authority.split_at(end + 2);
            (
                host,
                after.strip_prefix(':').or(after.is_empty().then_some("")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    if !port.is_some_and(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("Host has a bad port");
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if !host.bytes().all(plain) {
        return Err("Host has a character that no host has");
    }
    Ok(match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(uri: &str, hosts: &[&str], expect: Result<(&str, &str, &str), &str>) {
        let mut builder = Request::builder().uri(uri);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let target = Target::of(&parts, &Fields::of(&parts));
        let seen = target
            .as_ref()
            .map(|target| (target.host.as_ref(), target.path, target.query));
        assert_eq!(seen.map_err(|error| *error), expect, "{uri} {hosts:?}");
    }

    #[test]
    fn targets() {
        check("/a?b=1", &["x.example"], Ok(("x.example", "/a", "b=1")));
        check("/", &["X.Example.:8080"], Ok(("x.example", "/", "")));
        check("/", &["[::1]:80"], Ok(("[::1]", "/", "")));
        check("/", &["[::1]"], Ok(("[::1]", "/", "")));
        check(
            "http://abs.example/p",
            &["other.example"],
            Ok(("abs.example", "/p", "")),
        );
        check(
            "http://u@abs.example/p",
            &[],
            Err("the target names a user"),
        );
        check(
            "ftp://abs.example/p",
            &[],
            Err("the target is of another scheme than http and https"),
        );
        check("/", &[], Err("the request has no Host"));
        check("/", &["a", "a"], Err("the request has more than one Host"));
        check("/", &["a:b"], Err("Host has a bad port"));
        check("/", &["a:123456"], Err("Host has a bad port"));
        check("/", &["[::1"], Err("Host has an open bracket"));
        check("/", &["[::1]x"], Err("Host has a bad port"));
        check("/", &["a b"], Err("Host has a character that no host has"));
        check("/", &["a/b"], Err("Host has a character that no host has"));
    }
}
