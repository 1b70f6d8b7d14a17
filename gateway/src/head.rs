//! Conversion of heads between HTTP and the protocol: header fields to pairs, and a worker's head to a response.

use std::borrow::Cow;

use hearth_protocol::Codec;
use hearth_protocol::head::{Pair, ResponseHead};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, response};

/// Header fields that concern one hop and are never forwarded (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Hop-by-hop fields of older specifications.
const HOP_BY_HOP_LEGACY: [&str; 2] = ["proxy-connection", "http2-settings"];

/// Whether a field concerns only this hop. `connection` lists the further fields that the message names in
/// `Connection`.
pub(crate) fn is_hop_by_hop(name: &HeaderName, connection: &[String]) -> bool {
    HOP_BY_HOP.contains(name)
        || HOP_BY_HOP_LEGACY.contains(&name.as_str())
        || connection.iter().any(|listed| listed == name.as_str())
}

/// The names that a message's `Connection` fields list, in lower case.
pub(crate) fn connection_list(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        // The message needs these fields, so a client cannot have them removed by listing them here.
        .filter(|name| {
            !matches!(
                name.as_str(),
                "" | "host" | "content-length" | "content-type"
            )
        })
        .collect()
}

/// A field's value as text: UTF-8 if it is valid, otherwise read as Latin-1.
pub(crate) fn value_text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(
            value
                .as_bytes()
                .iter()
                .map(|byte| char::from(*byte))
                .collect(),
        ),
    }
}

/// Converts all header fields to pairs.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = Pair<'_>> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().into(), value_text(value).into()))
}

/// Converts a worker's pairs to header fields, without hop-by-hop fields.
pub(crate) fn header_map(pairs: &[Pair<'_>]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(pairs.len() + 1);
    for (name, value) in pairs {
        let bad = || format!("header field {:?}: {:?}", &**name, &**value);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
        if !is_hop_by_hop(&name, &[]) {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// Decodes a worker's head into the head of an HTTP response.
///
/// # Errors
/// A text that describes what is wrong with the head.
pub(crate) fn decode(codec: Codec, head: &[u8]) -> Result<response::Parts, String> {
    let head = ResponseHead::decode(codec, head).map_err(|error| match error.source_text() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    let status = StatusCode::from_u16(head.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| format!("status {}", head.status))?;
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = header_map(&head.headers)?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expect: Result<&str, &str>) {
        let decoded = decode(Codec::Json, json.as_bytes())
            .map(|parts| format!("{} {:?}", parts.status.as_u16(), parts.headers));
        assert_eq!(decoded.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn worker_heads_become_responses_or_a_named_fault() {
        check(r#"{"status":204}"#, Ok("204 {}"));
        check(
            r#"{"status":200,"headers":[["X-A","1"],["Connection","x"]]}"#,
            Ok(r#"200 {"x-a": "1"}"#),
        );
        check(r#"{"status":101}"#, Err("status 101"));
        check(r#"{"status":600}"#, Err("status 600"));
        check(
            r#"{"status":200,"headers":[["a b","1"]]}"#,
            Err(r#"header field "a b": "1""#),
        );
        check(
            r#"{"status":200,"headers":[["a","1\r\nb: 2"]]}"#,
            Err(r#"header field "a": "1\r\nb: 2""#),
        );
    }

    #[test]
    fn fields_named_by_connection_are_of_the_hop_but_not_host() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("close, X-Private, Host"),
        );
        let listed = connection_list(&headers);
        assert!(is_hop_by_hop(
            &HeaderName::from_static("x-private"),
            &listed
        ));
        assert!(!is_hop_by_hop(&header::HOST, &listed));
        assert!(!is_hop_by_hop(&header::ACCEPT, &listed));
    }

    #[test]
    fn values_that_are_not_utf8_are_read_as_latin_1() {
        let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(value_text(&value), "caf\u{e9}");
    }
}
