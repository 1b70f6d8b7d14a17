//! Errors as a client sees them: `application/problem+json` (RFC 9457).

use serde_json::{Map, Value};

use crate::response::Response;

/// An error response. It converts to a [`Response`], and a handler that returns `Result<Response, Problem>` can return
/// it with `?`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: u16,
    title: String,
    detail: Option<String>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem with a status (400 to 599) and a short title, which is the same for all problems of its kind.
    pub fn new(status: u16, title: impl Into<String>) -> Problem {
        Problem {
            status,
            title: title.into(),
            detail: None,
            members: Map::new(),
        }
    }

    /// Sets the description of this occurrence of the problem.
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// Adds an extension member (RFC 9457, section 3.2).
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Problem {
        self.members.insert(name.into(), value.into());
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let mut object = Map::new();
        object.insert("title".into(), problem.title.into());
        object.insert("status".into(), problem.status.into());
        if let Some(detail) = problem.detail {
            object.insert("detail".into(), detail.into());
        }
        object.extend(problem.members);
        let response = Response::new(problem.status)
            .header("content-type", "application/problem+json")
            .body(Value::Object(object).to_string());
        match problem.status {
            503 => response.header("retry-after", "1"),
            _ => response,
        }
    }
}
