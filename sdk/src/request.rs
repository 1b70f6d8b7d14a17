//! The request that a handler gets.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::head::{HeadError, RequestHead};
use serde::de::DeserializeOwned;

use crate::body::Body;
use crate::handshake::CODEC;
use crate::problem::Problem;
use crate::slots::Incoming;
use crate::text::{Pairs, Text};
use crate::worker::Key;

/// One request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The request's id, as in the platform's log and in the response's `x-request-id`.
    pub id: Text,
    /// The method in upper case, such as `GET`.
    pub method: Text,
    /// The path as the client sent it, percent-encoded, without the query.
    pub path: Text,
    /// The query, which follows `?`, percent-encoded. Empty if there is none.
    pub query: Text,
    /// The pattern of the manifest that matched, such as `/items/{id}`.
    pub route: Text,
    /// The pattern's parameters, percent-decoded.
    pub params: Params,
    /// `http` or `https`.
    pub scheme: Text,
    /// The requested host in lower case, without port.
    pub host: Text,
    /// The client's address and port.
    pub client: Text,
    /// Header fields.
    pub headers: Headers,
    /// The body, which is read on demand.
    pub body: Body,
    deadline: Instant,
}

/// Path parameters in the order of the pattern.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params(Pairs);

/// Header fields in the order in which they arrived.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Pairs);

impl Params {
    /// The value of the parameter with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// All parameters, as pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

impl Headers {
    /// The first value of this field. The case of the name does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All fields, as pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Request {
    /// A request for the tests of a handler. Its deadline is in 10 seconds.
    pub fn new(method: &str, path_and_query: &str, body: impl Into<Vec<u8>>) -> Request {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        Request {
            id: "test".into(),
            method: method.into(),
            path: path.into(),
            query: query.into(),
            route: path.into(),
            params: Params::default(),
            scheme: "http".into(),
            host: "localhost".into(),
            client: "127.0.0.1:0".into(),
            headers: Headers::default(),
            body: Body::whole(body.into()),
            deadline: Instant::now() + Duration::from_secs(10),
        }
    }

    /// Sets the pattern that has matched.
    pub fn with_route(mut self, route: &str) -> Request {
        self.route = route.into();
        self
    }

    /// Adds a path parameter.
    pub fn with_param(mut self, name: &str, value: &str) -> Request {
        self.params.0 = self.params.0.with(name, value);
        self
    }

    /// Adds a header field.
    pub fn with_header(mut self, name: &str, value: &str) -> Request {
        self.headers.0 = self.headers.0.with(name, value);
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Instant) -> Request {
        self.deadline = deadline;
        self
    }

    /// Decodes a request that has arrived on a data socket.
    pub(crate) fn from_incoming(
        incoming: Incoming,
        key: Key,
        now: Instant,
    ) -> Result<Request, HeadError> {
        let head = RequestHead::decode(CODEC, &incoming.head)?;
        let body = match incoming.end {
            true => Body::whole(incoming.body),
            false => Body::coming(incoming.body, key),
        };
        Ok(Request::from_head(&incoming.head, &head, body, now))
    }

    /// A request with a head that was decoded from `all`.
    pub(crate) fn from_head(
        all: &Arc<[u8]>,
        head: &RequestHead<'_>,
        body: Body,
        now: Instant,
    ) -> Request {
        let text = |text| Text::within(all, text);
        Request {
            id: text(&head.id),
            method: text(&head.method),
            path: text(&head.path),
            query: text(&head.query),
            route: text(&head.route),
            params: Params(Pairs::within(all, &head.params)),
            scheme: text(&head.scheme),
            host: text(&head.host),
            client: text(&head.client),
            headers: Headers(Pairs::within(all, &head.headers)),
            body,
            deadline: now + Duration::from_millis(head.deadline_ms),
        }
    }

    /// The value of the path parameter with this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The first value of this header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The time by which the gateway must have received the head of the response. Otherwise the client gets a 504.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A response to return to the client: a 400 that names the field and the position of the error, a 400 if the body
    /// did not arrive completely, or a 415 if its `content-type` is not JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.says_json()?;
        parse(self.body.bytes())
    }

    /// The body as JSON, like [`json`](Request::json), but without blocking, for asynchronous handlers.
    ///
    /// # Errors
    /// As [`json`](Request::json).
    #[cfg(feature = "async")]
    pub async fn json_async<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.says_json()?;
        parse(self.body.collect().await)
    }

    /// Checks that the `content-type` may be that of JSON, or is missing.
    fn says_json(&self) -> Result<(), Problem> {
        match self.header("content-type") {
            Some(kind) if !may_be_json(kind) => {
                Err(Problem::new(415, "The body is not of a kind expected here")
                    .detail(format!(
                        "content-type: `{kind:.100}`, expected `application/json`"
                    ))
                    .with("field", "content-type"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Accepts `application/json`, types with the suffix `+json` (RFC 6839, section 3.1), and the type of forms, because
/// `curl --data` sends that type unless another one is given.
fn may_be_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind.ends_with("+json")
        || ["application/json", "application/x-www-form-urlencoded"].contains(&kind.as_str())
}

fn parse<T: DeserializeOwned>(body: std::io::Result<&[u8]>) -> Result<T, Problem> {
    let bytes = body
        .map_err(|error| Problem::new(400, "The body did not arrive").detail(error.to_string()))?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        json_problem(
            bytes,
            error.into_inner(),
            Some(field).filter(|field| field != "."),
        )
    })?;
    json.end()
        .map_err(|error| json_problem(bytes, error, None))?;
    Ok(value)
}

fn json_problem(bytes: &[u8], error: serde_json::Error, field: Option<String>) -> Problem {
    let problem = Problem::new(400, "The body is not the JSON expected here");
    if let Err(error) = std::str::from_utf8(bytes) {
        // The JSON parser's own message for such bytes would not name the reason.
        return problem.detail(format!("not UTF-8: {error}"));
    }
    let problem = problem
        .detail(match &field {
            Some(field) => format!("{field}: {error}"),
            None => error.to_string(),
        })
        .with("line", error.line())
        .with("column", error.column());
    match field {
        Some(field) => problem.with("field", field),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Response;

    #[derive(serde::Deserialize)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(serde::Deserialize)]
    struct Line {
        count: u32,
    }

    fn check(body: &str, expect: &str) {
        let answer = match Request::new("POST", "/", body).json::<Order>() {
            Ok(order) => format!("{}", order.lines.iter().map(|line| line.count).sum::<u32>()),
            Err(problem) => {
                assert_eq!(problem.status(), 400);
                String::from_utf8(Response::from(problem).bytes().unwrap().to_vec()).unwrap()
            }
        };
        assert_eq!(answer, expect);
    }

    #[test]
    fn json_is_read_and_bad_json_is_named_by_field_and_position() {
        check(r#"{"lines":[{"count":2},{"count":3}]}"#, "5");
        check(
            r#"{"lines":[{"count":2},{"count":"x"}]}"#,
            r#"{"column":34,"detail":"lines[1].count: invalid type: string \"x\", expected u32 at line 1 column 34","field":"lines[1].count","line":1,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            "",
            r#"{"column":0,"detail":"EOF while parsing a value at line 1 column 0","line":1,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            "{\"lines\":[]}\nx",
            r#"{"column":1,"detail":"trailing characters at line 2 column 1","line":2,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
    }

    #[test]
    fn nesting_is_bounded_also_where_anything_is_expected() {
        let bomb = "[".repeat(100_000);
        let request = Request::new("POST", "/", bomb);
        let problem = request.json::<serde_json::Value>().unwrap_err();
        assert_eq!(problem.status(), 400);
        let answer = Response::from(problem);
        let said = std::str::from_utf8(answer.bytes().unwrap()).unwrap();
        let expect = "recursion limit exceeded at line 1 column 128";
        assert!(said.contains(expect), "{said}");
        assert!(said.len() < 1500, "{} bytes", said.len());
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_their_place() {
        let request = Request::new("POST", "/", b"[\"caf\xE9\"]");
        let problem = request.json::<Vec<String>>().unwrap_err();
        assert_eq!(problem.status(), 400);
        let answer = Response::from(problem);
        let said = std::str::from_utf8(answer.bytes().unwrap()).unwrap();
        let expect = "not UTF-8: invalid utf-8 sequence of 1 bytes from index 5";
        assert!(said.contains(expect), "{said}");
    }

    #[test]
    fn a_body_that_is_called_something_else_is_415() {
        let check = |kind: &str, expect: Option<&str>| {
            let request = Request::new("POST", "/", "[]").with_header("Content-Type", kind);
            let said = request.json::<Vec<u8>>().err().map(|problem| {
                assert_eq!(problem.status(), 415);
                String::from_utf8(Response::from(problem).bytes().unwrap().to_vec()).unwrap()
            });
            assert_eq!(said.as_deref(), expect, "{kind}");
        };
        check("application/json", None);
        check("Application/JSON; charset=utf-8", None);
        check("application/merge-patch+json", None);
        check("application/x-www-form-urlencoded", None);
        check(
            "text/plain",
            Some(
                r#"{"detail":"content-type: `text/plain`, expected `application/json`","field":"content-type","status":415,"title":"The body is not of a kind expected here"}"#,
            ),
        );
        for kind in [
            "",
            "json",
            "application/jsonp",
            "multipart/form-data; a=json",
        ] {
            let request = Request::new("POST", "/", "[]").with_header("content-type", kind);
            assert_eq!(
                request.json::<Vec<u8>>().unwrap_err().status(),
                415,
                "{kind}"
            );
        }
    }
}
