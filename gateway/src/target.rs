//! What a request is for: host, path and query, taken apart and checked. Pure.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::{Method, Version};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Lower case, without port and trailing dot; empty if an HTTP/1.0 client names none.
    pub host: Cow<'a, str>,
    /// As the client wrote it, with its port.
    pub authority: &'a str,
    /// As the client wrote it, percent-encoded.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: &'a str,
}

/// Why a request has no target; the text is for the client.
pub type BadTarget = &'static str;

impl<'a> Target<'a> {
    /// Takes it from the head of a request.
    pub fn of(parts: &'a Parts) -> Result<Target<'a>, BadTarget> {
        let authority = authority(parts)?;
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

/// The host and port asked for: of the target if it has them (RFC 9112, section 3.2.2), else of the
/// one `Host` field.
fn authority(parts: &Parts) -> Result<&str, BadTarget> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err("the request has more than one Host");
    }
    if let Some(authority) = parts.uri.authority() {
        let authority = authority.as_str();
        if authority.contains('@') {
            return Err("the target names a user");
        }
        return Ok(authority);
    }
    match field {
        Some(value) => value.to_str().map_err(|_| "Host is not ASCII"),
        None if parts.version < Version::HTTP_11 => Ok(""),
        None => Err("the request has no Host"),
    }
}

/// Host without port, in lower case.
fn host_of(authority: &str) -> Result<Cow<'_, str>, BadTarget> {
    // Nearly every request: nothing to change, perhaps a port to leave out.
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let end = authority.as_bytes().iter().position(|byte| !plain(byte));
    if end.is_none() && !authority.ends_with('.') {
        return Ok(Cow::Borrowed(authority));
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
        let target = Target::of(&parts);
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
