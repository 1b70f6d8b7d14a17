//! Error responses of the control API: `application/problem+json` (RFC 9457), with the layer `control`. Errors of this
//! API get their status only here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The layer in the error responses of this API. Those of the gateway have other layers (`docs/limits.md`).
const LAYER: &str = "control";

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of error.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case, and what helps.
    pub detail: String,
    /// Always `control`.
    pub layer: String,
    /// The methods that the path supports, if the method was wrong.
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

    /// 403: this user may not send requests.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(403, "Forbidden", detail)
    }

    /// 404: this path does not exist.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(404, "Not found", detail)
    }

    /// 405: the path supports only these methods.
    pub fn method(allow: Vec<String>) -> Problem {
        let detail = format!("this path knows {}", allow.join(", "));
        Problem {
            allow,
            ..Problem::new(405, "Method not allowed", detail)
        }
    }

    /// 409: the request could not be carried out.
    pub fn refused(detail: impl Into<String>) -> Problem {
        Problem::new(409, "Not done", detail)
    }

    /// 413: no request of this API has a body.
    pub fn body() -> Problem {
        let detail = "no request of this API has a body; send its parameters in the query";
        Problem::new(413, "Content too large", detail)
    }

    /// 500: the platform has failed to answer.
    pub fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(500, "Failed", detail)
    }

    /// 503: the platform cannot answer now.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(503, "Not now", detail)
    }
}
