//! Parses method, path and query into a request. Pure: it knows no socket and no peer, so that the API gives the same
//! answers on every transport.
//!
//! A new request needs an entry in [`ROUTES`], a variant of [`Request`], and a path in `docs/control-api.yaml`, which a
//! test checks.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::{Problem, Request};
use crate::device::Ask;
use crate::filter::{Level, LogQuery, Since};

/// Number of log records, if the query does not set it.
const LINES: usize = 100;

/// Maximum number of past log records for one request.
pub const MOST_LINES: usize = 100_000;

/// A request that the API supports.
#[derive(Debug)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The whole path.
    pub path: &'static str,
    /// The names of the parameters that its query may have.
    pub parameters: &'static [&'static str],
    read: fn(&Query) -> Result<Request, Problem>,
}

/// All requests that the API supports.
pub const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/v1/status",
        parameters: &[],
        read: |_| Ok(Request::Status),
    },
    Route {
        method: "GET",
        path: "/v1/logs",
        parameters: &["lines", "follow", "function", "level", "since", "request"],
        read: |query| Ok(Request::Logs(logs(query)?)),
    },
    Route {
        method: "POST",
        path: "/v1/reload",
        parameters: &[],
        read: |_| Ok(Request::Reload),
    },
    Route {
        method: "GET",
        path: "/v1/metrics",
        parameters: &[],
        read: |_| Ok(Request::Metrics),
    },
    Route {
        method: "GET",
        path: "/v1/device",
        parameters: &[],
        read: |_| Ok(Request::Device),
    },
    Route {
        method: "POST",
        path: "/v1/device/reboot",
        parameters: &[],
        read: |_| Ok(Request::AskDevice(Ask::Reboot)),
    },
    Route {
        method: "POST",
        path: "/v1/device/power-off",
        parameters: &[],
        read: |_| Ok(Request::AskDevice(Ask::PowerOff)),
    },
    Route {
        method: "POST",
        path: "/v1/device/factory-reset",
        parameters: &[],
        read: |_| Ok(Request::AskDevice(Ask::FactoryReset)),
    },
    Route {
        method: "GET",
        path: "/v1/versions",
        parameters: &[],
        read: |_| Ok(Request::Versions),
    },
    Route {
        method: "POST",
        path: "/v1/rollback",
        parameters: &["function", "to"],
        read: |query| {
            Ok(Request::Rollback {
                function: query.text("function").map(str::to_owned),
                to: query.number("to")?,
            })
        },
    },
];

/// Parses a request.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Request, Problem> {
    let here: Vec<&Route> = ROUTES.iter().filter(|route| route.path == path).collect();
    let Some(route) = here.iter().find(|route| route.method == method) else {
        return Err(match here.is_empty() {
            true => {
                let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
                Problem::not_found(format!("there is {}", paths.join(", ")))
            }
            false => Problem::method(here.iter().map(|route| route.method.to_owned()).collect()),
        });
    };
    (route.read)(&Query::parse(query.unwrap_or(""), route.parameters)?)
}

fn logs(query: &Query) -> Result<LogQuery, Problem> {
    let lines = query.number("lines")?.unwrap_or(LINES);
    if lines > MOST_LINES {
        return Err(wrong("lines", &format!("at most {MOST_LINES}")));
    }
    let parsed = |name, parse: fn(&str) -> Result<Level, String>| {
        let text = query.text(name);
        text.map(|text| parse(text).map_err(|why| wrong(name, &why)))
            .transpose()
    };
    let since = query.text("since").map(Since::parse).transpose();
    Ok(LogQuery {
        lines,
        follow: query.number("follow")?.unwrap_or(false),
        function: query.text("function").map(str::to_owned),
        level: parsed("level", Level::parse)?,
        since: since.map_err(|why| wrong("since", &why))?,
        request: query.text("request").map(str::to_owned),
    })
}

fn wrong(name: &str, why: &str) -> Problem {
    Problem::bad_request(format!("{name}: {why}"))
}

/// The names and values of a query, each name once. Values are percent-encoded in the query; `+` is a plus sign.
#[derive(Debug)]
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str, known: &[&str]) -> Result<Query, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let known = match known.is_empty() {
                    true => "it has none".to_owned(),
                    false => format!("it has {}", known.join(", ")),
                };
                let name = name.escape_default();
                let detail = format!("this path has no parameter `{name}`; {known}");
                return Err(Problem::bad_request(detail));
            }
            if pairs.iter().any(|(before, _)| before == name) {
                return Err(wrong(name, "is there twice"));
            }
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| wrong(name, "is not UTF-8"))?;
            pairs.push((name.to_owned(), value.into_owned()));
        }
        Ok(Query(pairs))
    }

    fn text(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// The value as a whole number, or as `true` or `false`.
    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let what = match std::any::type_name::<T>() {
            "bool" => "`true` or `false`",
            _ => "a whole number",
        };
        let read = |text: &str| {
            let value = text.parse();
            value.map_err(|_| wrong(name, &format!("`{text}` is not {what}")))
        };
        self.text(name).map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn asked(line: &str) -> Result<Request, (u16, String)> {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        route(method, path, query).map_err(|problem| (problem.status, problem.detail))
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(asked("GET /v1/status"), Ok(Request::Status));
        assert_eq!(asked("POST /v1/reload?"), Ok(Request::Reload));
        assert_eq!(asked("GET /v1/metrics"), Ok(Request::Metrics));
        let all = LogQuery {
            lines: 100,
            follow: false,
            function: None,
            level: None,
            since: None,
            request: None,
        };
        assert_eq!(asked("GET /v1/logs"), Ok(Request::Logs(all)));
        let some = LogQuery {
            lines: 0,
            follow: true,
            function: Some("a&b".to_owned()),
            level: Level::of("warn"),
            since: Some(Since::Ago(Duration::from_secs(600))),
            request: Some("01+2".to_owned()),
        };
        let line =
            "GET /v1/logs?lines=0&follow=true&function=a%26b&level=warn&since=10m&request=01+2";
        assert_eq!(asked(line), Ok(Request::Logs(some)));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (line, status, detail) in [
            (
                "GET /v1/nothing",
                404,
                "there is /v1/status, /v1/logs, /v1/reload",
            ),
            ("GET /v2/status", 404, "there is"),
            ("GET /v1/status/", 404, "there is"),
            ("DELETE /v1/status", 405, "this path knows GET"),
            ("GET /v1/reload", 405, "this path knows POST"),
            (
                "GET /v1/status?x=1",
                400,
                "this path has no parameter `x`; it has none",
            ),
            (
                "GET /v1/logs?line=1",
                400,
                "this path has no parameter `line`; it has lines, follow",
            ),
            ("GET /v1/logs?lines=1&lines=2", 400, "lines: is there twice"),
            (
                "GET /v1/logs?lines=-1",
                400,
                "lines: `-1` is not a whole number",
            ),
            ("GET /v1/logs?lines=", 400, "lines: `` is not"),
            ("GET /v1/logs?lines=100001", 400, "lines: at most 100000"),
            (
                "GET /v1/logs?follow=yes",
                400,
                "follow: `yes` is not `true` or `false`",
            ),
            ("GET /v1/logs?level=loud", 400, "level: `loud` is no level"),
            ("GET /v1/logs?since=now", 400, "since: `now` is no time"),
            ("GET /v1/logs?function=%ff", 400, "function: is not UTF-8"),
        ] {
            let (got, said) = asked(line).unwrap_err();
            assert_eq!(got, status, "{line}: {said}");
            assert!(said.starts_with(detail), "{line}: {said}");
        }
    }

    #[test]
    fn no_two_routes_are_the_same_and_all_are_of_this_version() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with("/v1/"));
            let same = |other: &Route| (other.method, other.path) == (route.method, route.path);
            assert!(!ROUTES[..place].iter().any(same));
        }
    }
}
