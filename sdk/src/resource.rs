//! Clients for the servers that a function uses. They keep their connections open and reconnect when a connection is
//! lost.
//!
//! The manifest names a resource by its kind, `resources: { postgres: "postgres://..." }`, or gives it another name,
//! `resources: { orders_db: { postgres: "postgres://..." } }`. While its server cannot be reached, requests to it fail
//! with [`Unavailable`] after at most [`WAIT`]. A handler can return this error; the client then gets a 503 that names
//! the resource. When the server is back, the connections are opened again without a restart of the worker.

#[cfg(any(feature = "postgres-tls", feature = "redis-tls"))]
mod authorities;
#[cfg(feature = "memcache")]
pub mod memcache;
pub(crate) mod names;
mod patience;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::causes::with_causes;
use crate::log;
use crate::problem::Problem;
use crate::response::{IntoResponse, Response};

/// Maximum time that a request waits for a resource.
pub const WAIT: Duration = Duration::from_secs(2);

/// Why a resource cannot be used at all. If a function's start returns this error, the platform refuses the reload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The manifest gives the function no resource of this name.
    #[error("the manifest gives this function no resource `{0}`")]
    Missing(String),
    /// The resource is of another kind.
    #[error("resource `{name}` is no address of {kind}: expected `{kind}: ADDRESS`")]
    Kind {
        /// The resource's name.
        name: String,
        /// The expected kind.
        kind: &'static str,
    },
    /// The address or another setting of the resource cannot be used. The error does not contain the address, because
    /// the address may contain a password.
    #[error("resource `{name}`: {why}")]
    Address {
        /// The resource's name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// The server of a resource cannot be reached, or the connection to it was lost. As a response, this error is a 503
/// with `retry-after`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("resource `{name}` is not available: {why}")]
pub struct Unavailable {
    name: String,
    why: String,
}

impl Unavailable {
    pub(crate) fn new(name: &str, why: impl fmt::Display) -> Unavailable {
        Unavailable {
            name: name.to_owned(),
            why: why.to_string(),
        }
    }

    /// The resource's name in the manifest.
    pub fn resource(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a query or a command has no result. As a response, this error is a 503 if the server is not available, and
/// otherwise a 500; the log has the reason. `E` is the error type of the client library.
#[derive(Debug, thiserror::Error)]
pub enum ServerError<E> {
    /// The server cannot be reached, or the connection was lost before the result arrived.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The server rejected the query or the command, or the result is of an unexpected type.
    #[error("resource `{name}`: {error}")]
    Refused {
        /// The resource's name.
        name: &'static str,
        /// The error of the client library.
        error: E,
    },
}

impl<E: std::error::Error> From<ServerError<E>> for Problem {
    /// Names the resource to the client, and writes the error to the log.
    fn from(error: ServerError<E>) -> Problem {
        let (name, error) = match error {
            ServerError::Unavailable(error) => return error.into(),
            ServerError::Refused { name, error } => (name, error),
        };
        log::error(format_args!("resource `{name}`: {}", with_causes(&error)));
        let problem = Problem::new(500, "A resource refused what it was asked")
            .detail("The log has the reason under this request's id.")
            .with("layer", "worker");
        of_request(problem).with("resource", name)
    }
}

impl<E: std::error::Error> IntoResponse for ServerError<E> {
    fn into_response(self) -> Response {
        Problem::from(self).into()
    }
}

impl From<Unavailable> for Problem {
    /// Names the resource to the client, and writes the reason to the log.
    fn from(error: Unavailable) -> Problem {
        log::error(&error);
        let problem = Problem::new(503, "A resource is not available")
            .detail(format!("The function cannot reach `{}`.", error.name))
            .with("layer", "resource");
        of_request(problem).with("resource", error.name)
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        Problem::from(self).into()
    }
}

/// Adds the id of the current request, under which the log has the reason.
fn of_request(problem: Problem) -> Problem {
    match log::request() {
        Some(id) => problem.with("request", id.as_str()),
        None => problem,
    }
}

/// The address of the resource with this name and kind.
fn address(name: &str, kind: &'static str) -> Result<&'static str, ResourceError> {
    let value = crate::resource(name).ok_or_else(|| ResourceError::Missing(name.to_owned()))?;
    address_in(value, name, kind)
}

fn address_in<'v>(
    value: &'v Value,
    name: &str,
    kind: &'static str,
) -> Result<&'v str, ResourceError> {
    let text = match value {
        Value::String(text) if name == kind => Some(text.as_str()),
        Value::Object(map) => map.get(kind).and_then(Value::as_str),
        _ => None,
    };
    let text = text.ok_or_else(|| ResourceError::Kind {
        name: name.to_owned(),
        kind,
    })?;
    match text.ends_with("...") {
        false => Ok(text),
        true => Err(ResourceError::Address {
            name: name.to_owned(),
            why: "a placeholder, not an address".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resource_goes_by_its_kind_or_by_a_name_of_its_own() {
        let read = |value: Value, name: &str| {
            let address = address_in(&value, name, "postgres");
            address
                .map(str::to_owned)
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            read(json!("postgres://a"), "postgres"),
            Ok("postgres://a".into())
        );
        let own = json!({ "postgres": "postgres://b" });
        assert_eq!(read(own.clone(), "orders_db"), Ok("postgres://b".into()));
        assert_eq!(read(own, "postgres"), Ok("postgres://b".into()));
        for value in [json!("postgres://a"), json!({ "redis": "x" }), json!(7)] {
            let expect =
                "resource `orders_db` is no address of postgres: expected `postgres: ADDRESS`";
            assert_eq!(read(value, "orders_db"), Err(expect.to_owned()));
        }
        let placeholder = read(json!("postgres://..."), "postgres").unwrap_err();
        assert!(placeholder.contains("placeholder"), "{placeholder}");
    }
}
