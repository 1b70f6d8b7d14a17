//! What is said where a request cannot be answered: `application/problem+json` (RFC 9457), with the
//! layer `control`. The only place where a fault of this API gets its status.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The layer that says so, beside those of the gateway (`docs/limits.md`).
const LAYER: &str = "control";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of thing it is.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What it is this time, and what helps.
    pub detail: String,
    /// `control`.
    pub layer: String,
    /// Methods that the path knows, where the method was wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.detail)
    }
}

impl Problem {
    fn new(status: u16, title: &str, detail: impl Into<String>) -> Problem {
        Problem {
            title: title.to_owned(),
            status,
            detail: detail.into(),
            layer: LAYER.to_owned(),
            allow: Vec::new(),
        }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(400, "Bad request", detail)
    }

    /// 403: this user may not ask.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(403, "Forbidden", detail)
    }

    /// 404: there is no such path.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(404, "Not found", detail)
    }

    /// 405: the path knows these methods only.
    pub fn method(allow: Vec<String>) -> Problem {
        let detail = format!("this path knows {}", allow.join(", "));
        Problem {
            allow,
            ..Problem::new(405, "Method not allowed", detail)
        }
    }

    /// 409: it was tried and could not be done.
    pub fn refused(detail: impl Into<String>) -> Problem {
        Problem::new(409, "Not done", detail)
    }

    /// 413: no request of this API has a body.
    pub fn body() -> Problem {
        let detail = "no request of this API has a body; send its parameters in the query";
        Problem::new(413, "Content too large", detail)
    }

    /// 500: the platform failed at it.
    pub fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(500, "Failed", detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(503, "Not now", detail)
    }
}
