//! A response as a handler makes it.

use std::borrow::Cow;
use std::fmt;
use std::io;

use hearth_protocol::MAX_CHUNK;
use hearth_protocol::data::encode_head;
use hearth_protocol::frame::Kind;
use hearth_protocol::head::{HeadError, ResponseHead};
use serde::Serialize;

use crate::handshake::CODEC;
use crate::ipc;
use crate::problem::Problem;
use crate::worker::Key;

/// One response: status, header fields, and a body that is at hand or written as it is made.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) body: ResponseBody,
}

/// What follows the head.
pub(crate) enum ResponseBody {
    /// Bytes at hand.
    Whole(Vec<u8>),
    /// A function that writes them.
    Stream(Box<StreamFn>),
    /// One that waits where it must.
    #[cfg(feature = "async")]
    Async(Box<AsyncStreamFn>),
}

pub(crate) type StreamFn = dyn FnOnce(&mut BodyWriter) -> io::Result<()> + Send;

#[cfg(feature = "async")]
pub(crate) type AsyncStreamFn = dyn FnOnce(crate::AsyncBodyWriter) -> crate::aio::Written + Send;

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseBody::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            ResponseBody::Stream(_) => f.write_str("Stream"),
            #[cfg(feature = "async")]
            ResponseBody::Async(_) => f.write_str("Async"),
        }
    }
}

impl Response {
    /// An empty response with this status (200 to 599).
    pub fn new(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: ResponseBody::Whole(Vec::new()),
        }
    }

    /// 200, empty.
    pub fn ok() -> Response {
        Response::new(200)
    }

    /// 204, empty.
    pub fn no_content() -> Response {
        Response::new(204)
    }

    /// 404, as a problem.
    pub fn not_found() -> Response {
        Problem::new(404, "Not found").into()
    }

    /// 200 with text.
    pub fn text(text: impl Into<String>) -> Response {
        Response::ok()
            .header("content-type", "text/plain; charset=utf-8")
            .body(text.into())
    }

    /// 200 with HTML.
    pub fn html(html: impl Into<String>) -> Response {
        Response::ok()
            .header("content-type", "text/html; charset=utf-8")
            .body(html.into())
    }

    /// 200 with `value` as JSON. A value that JSON cannot hold (a map whose keys are no strings)
    /// makes a 500 that says so.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Response {
        match serde_json::to_vec(value) {
            Ok(bytes) => Response::ok()
                .header("content-type", "application/json")
                .body(bytes),
            Err(error) => Problem::new(500, "The answer cannot be written as JSON")
                .detail(error.to_string())
                .into(),
        }
    }

    /// 200 with a body that is written while it is made: `write` runs after the head has gone out,
    /// and its writes wait for a slow client. An error of it, or a panic, breaks the response off.
    pub fn stream(
        write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
    ) -> Response {
        Response {
            body: ResponseBody::Stream(Box::new(write)),
            ..Response::ok()
        }
    }

    /// 200 with a body that an asynchronous handler writes while it is made, as [`Response::stream`].
    #[cfg(feature = "async")]
    pub fn stream_async(
        write: impl AsyncFnOnce(&mut crate::AsyncBodyWriter) -> io::Result<()> + Send + 'static,
    ) -> Response {
        Response {
            body: ResponseBody::Async(Box::new(|mut writer| {
                Box::pin(async move {
                    let written = write(&mut writer).await;
                    (writer, written)
                })
            })),
            ..Response::ok()
        }
    }

    /// The same with another status.
    pub fn status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// The same with one more header field.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.body = ResponseBody::Whole(bytes.into());
        self
    }

    /// Writes the head as a frame of this stream, with as much of a body at hand as one frame takes.
    /// Returns what is left of it, and whether that was all.
    pub(crate) fn encode(
        &self,
        stream: u32,
        out: &mut Vec<u8>,
    ) -> Result<(&[u8], bool), HeadError> {
        let (first, rest, end) = match &self.body {
            ResponseBody::Whole(bytes) => {
                let (first, rest) = bytes.split_at(bytes.len().min(MAX_CHUNK));
                (first, rest, rest.is_empty())
            }
            _ => (&[][..], &[][..], false),
        };
        let head = |out: &mut Vec<u8>| {
            ResponseHead::encode(CODEC, self.status_code(), self.headers(), out)
        };
        encode_head(out, Kind::Response, stream, head, first, end)?;
        Ok((rest, end))
    }

    /// Its status.
    pub fn status_code(&self) -> u16 {
        self.status
    }

    /// Its header fields.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Its body, unless that is a stream.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            ResponseBody::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// What a handler may return.
pub trait IntoResponse {
    /// The response to send.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into()
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// Bytes that a [`BodyWriter`] collects before it sends them by itself.
const COLLECTED: usize = 16 * 1024;

/// Where a streamed body is written to. Bytes go out on `flush`, at the end, or when many have come
/// together; then a write waits for a slow client.
#[derive(Debug)]
pub struct BodyWriter {
    /// Nobody, where a function is tested: all is collected.
    to: Option<Key>,
    collected: Vec<u8>,
}

impl BodyWriter {
    pub(crate) fn new(key: Key) -> BodyWriter {
        BodyWriter {
            to: Some(key),
            collected: Vec::new(),
        }
    }

    /// One whose bytes are kept.
    pub(crate) fn into_memory() -> BodyWriter {
        BodyWriter {
            to: None,
            collected: Vec::new(),
        }
    }

    /// What has been written into memory.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.collected)
    }

    /// Hands on what has been collected.
    fn send(&mut self) -> io::Result<()> {
        let Some(key) = self.to else {
            return Ok(());
        };
        let mut rest = &self.collected[..];
        while !rest.is_empty() {
            let count = ipc::write_body(key, rest)?;
            rest = &rest[count..];
        }
        self.collected.clear();
        Ok(())
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // Also where the function that wrote has failed: what it wrote before is the client's. A
        // stream that nobody wants any more says so to whoever ends it.
        let _ = self.send();
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.to {
            Some(key) if self.collected.len() + bytes.len() > COLLECTED => {
                self.send()?;
                ipc::write_body(key, bytes)
            }
            _ => {
                self.collected.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.to.map_or(Ok(()), ipc::flush)
    }
}
