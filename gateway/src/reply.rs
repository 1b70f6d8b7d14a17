//! The only place where an error becomes a status.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use crate::body::ReplyBody;
use crate::failure::Failure;
use crate::route::Miss;

/// The header field that carries the request's id in responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Seconds after which a client may retry. A crashed worker is usually restarted sooner.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error response from Hearth itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    /// The part of Hearth that refuses the request.
    layer: &'static str,
    title: &'static str,
    detail: String,
    allow: Option<String>,
    retry: bool,
    worker: Option<u32>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        layer: &'static str,
        title: &'static str,
        detail: String,
    ) -> Refusal {
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        Refusal {
            status,
            layer,
            title,
            detail,
            allow: None,
            retry,
            worker: None,
        }
    }

    /// A response with status 400.
    pub fn bad_request(detail: impl Into<String>) -> Refusal {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "gateway",
            "Bad request",
            detail.into(),
        )
    }

    /// Adds the worker that the error concerns.
    pub fn at_worker(mut self, worker: Option<u32>) -> Refusal {
        self.worker = worker;
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The part of Hearth that refuses the request.
    pub fn layer(&self) -> &'static str {
        self.layer
    }

    /// Converts the refusal to a response with the content type `application/problem+json` (RFC 9457).
    pub fn into_response(self, request: &str) -> Response<ReplyBody> {
        let mut problem = json!({
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "layer": self.layer,
            "request": request,
        });
        if let Some(worker) = self.worker {
            problem["worker"] = worker.into();
        }
        let mut body = problem.to_string();
        body.push('\n');
        let mut response = Response::new(ReplyBody::whole(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(allow) = self
            .allow
            .and_then(|allow| HeaderValue::from_str(&allow).ok())
        {
            headers.insert(ALLOW, allow);
        }
        if self.retry {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}

impl From<Miss> for Refusal {
    fn from(miss: Miss) -> Refusal {
        match miss {
            Miss::NotFound => Refusal::new(
                StatusCode::NOT_FOUND,
                "gateway",
                "Not found",
                "No route of the manifest fits this host and path.".to_owned(),
            ),
            Miss::Method(methods) => {
                let allow = methods.join(", ");
                let detail = format!("This path answers {allow}.");
                let refusal = Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "gateway",
                    "Method not allowed",
                    detail,
                );
                Refusal {
                    allow: Some(allow),
                    ..refusal
                }
            }
            Miss::BadPath(why) => Refusal::bad_request(why),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let (status, layer, title) = match &failure {
            Failure::NotSent
            | Failure::NotServed
            | Failure::CannotStart(_)
            | Failure::Refused(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "worker",
                "The function is not available",
            ),
            // The supervisor names the manifest key of the limit that ended the worker.
            Failure::WorkerEnded(how) if how.contains("limits.") => (
                StatusCode::BAD_GATEWAY,
                "limit",
                "The function needs more than it may have",
            ),
            Failure::WorkerGone
            | Failure::WorkerEnded(_)
            | Failure::Protocol(_)
            | Failure::Worker(_)
            | Failure::BadAnswer(_) => (StatusCode::BAD_GATEWAY, "worker", "The function failed"),
            Failure::Timeout(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "The function took too long",
            ),
            Failure::QueueTimeout(_) | Failure::QueueFull(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "queue",
                "The function is busy",
            ),
            Failure::BodyTooLarge(_) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "limit",
                "The body is too large",
            ),
            Failure::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "limit",
                "The head is too large",
            ),
            Failure::BodyStalled(_) => (
                StatusCode::REQUEST_TIMEOUT,
                "limit",
                "The body stopped coming",
            ),
            Failure::BodyBroken(_) => (StatusCode::BAD_REQUEST, "gateway", "Bad request"),
        };
        Refusal::new(status, layer, title, failure.to_string())
    }
}
