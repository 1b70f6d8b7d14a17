//! The response that a handler returns.

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

/// A response: status, header fields, and a body that is either complete or streamed.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) body: ResponseBody,
}

/// The body of a response.
pub(crate) enum ResponseBody {
    /// The complete bytes.
    Whole(Vec<u8>),
    /// A function that writes the body.
    Stream(Box<StreamFn>),
    /// An asynchronous function that writes the body.
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

    /// An empty 200.
    pub fn ok() -> Response {
        Response::new(200)
    }

    /// An empty 204.
    pub fn no_content() -> Response {
        Response::new(204)
    }

    /// A 404 as a [`Problem`].
    pub fn not_found() -> Response {
        Problem::new(404, "Not found").into()
    }

    /// A 200 with text.
    pub fn text(text: impl Into<String>) -> Response {
        Response::ok()
            .header("content-type", "text/plain; charset=utf-8")
            .body(text.into())
    }

    /// A 200 with HTML.
    pub fn html(html: impl Into<String>) -> Response {
        Response::ok()
            .header("content-type", "text/html; charset=utf-8")
            .body(html.into())
    }

    /// A 200 with `value` as JSON. A value that JSON cannot represent, such as a map whose keys are not strings,
    /// becomes a 500 with the reason.
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

    /// A 200 with a streamed body. `write` runs after the head has been sent, and its writes block while the client is
    /// slow. If `write` fails or panics, the response is aborted.
    pub fn stream(
        write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + Send + 'static,
    ) -> Response {
        Response {
            body: ResponseBody::Stream(Box::new(write)),
            ..Response::ok()
        }
    }

    /// A 200 with a body that an asynchronous handler streams. Otherwise like [`Response::stream`].
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

    /// Sets the status code.
    pub fn status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// Adds a header field.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.body = ResponseBody::Whole(bytes.into());
        self
    }

    /// Appends a RESPONSE frame with the head and as much of a complete body as one frame takes. Returns the rest of
    /// the body, and whether the response is complete.
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

    /// The status code.
    pub fn status_code(&self) -> u16 {
        self.status
    }

    /// The header fields.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The body, unless it is streamed.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            ResponseBody::Whole(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A type that a handler can return.
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

/// Number of bytes that a [`BodyWriter`] collects before it sends them without a flush.
const COLLECTED: usize = 16 * 1024;

/// Writes a streamed body. It collects up to 16 KiB, and sends them on `flush`, at the end of the body, or when there
/// is no more room; then a write blocks while the client is slow.
#[derive(Debug)]
pub struct BodyWriter {
    /// The stream to write to. `None` in tests of functions, where the whole body is collected in memory.
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

    /// A writer that collects the whole body in memory.
    pub(crate) fn into_memory() -> BodyWriter {
        BodyWriter {
            to: None,
            collected: Vec::new(),
        }
    }

    /// Takes the bytes that a writer has collected in memory.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.collected)
    }

    /// Sends the collected bytes. Does nothing if the body is collected in memory.
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
        // Also sends what a function wrote before it failed. An error means that the stream is cancelled; the code that
        // ends the stream finds that out as well.
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
