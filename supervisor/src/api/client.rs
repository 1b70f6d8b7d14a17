//! The client of the control API, for the command line. It sends one request on a connection, and parses the answer as
//! a type of this API.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Problem;
use crate::state::StateDir;

/// The characters that are escaped in a query: all except ASCII letters, digits and `-`, `_`, `.`, `:`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':');

/// Maximum size in bytes of a line in a streamed answer: far more than any record.
const LINE: usize = 16 << 20;

/// Why a request to a platform has failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No platform runs from this manifest.
    #[error("no platform runs from {manifest}; start one with `hearth up {manifest}`")]
    NotRunning {
        /// The manifest's path.
        manifest: String,
    },
    /// The socket has failed.
    #[error("cannot talk to the platform")]
    Io(#[from] io::Error),
    /// The answer was cut off, or is not HTTP.
    #[error("cannot talk to the platform")]
    Http(#[from] hyper::Error),
    /// The answer could not be parsed.
    #[error("the platform's answer is not understood; is it of another version?")]
    Answer(#[from] serde_json::Error),
    /// The platform has answered with an error.
    #[error("{0}")]
    Refused(Problem),
}

/// A client of the platform that runs from this manifest and keeps its state in this directory.
#[derive(Clone, Debug)]
pub struct Client {
    manifest: PathBuf,
    state: StateDir,
}

impl Client {
    /// A client of the platform that runs from this manifest with this state.
    pub fn of(manifest: &Path, state: StateDir) -> Client {
        Client {
            manifest: manifest.to_owned(),
            state,
        }
    }

    /// Sends a GET request, and parses the answer as JSON.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, AskError> {
        Ok(serde_json::from_slice(&self.whole(Method::GET, target)?)?)
    }

    /// Sends a POST request, and parses the answer as JSON.
    pub fn post<T: DeserializeOwned>(&self, target: &str) -> Result<T, AskError> {
        Ok(serde_json::from_slice(&self.whole(Method::POST, target)?)?)
    }

    /// Sends a GET request, and returns the answer as text.
    pub fn text(&self, target: &str) -> Result<String, AskError> {
        let bytes = self.whole(Method::GET, target)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a GET request, and passes each line of the answer to `on_line` as it arrives, until that returns `false`.
    pub fn lines(
        &self,
        target: &str,
        mut on_line: impl FnMut(&str) -> bool,
    ) -> Result<(), AskError> {
        self.talk(async |client: Client| {
            let mut body = client.answer(Method::GET, target).await?.into_body();
            let mut waiting = Vec::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                waiting.extend_from_slice(&data);
                if waiting.len() > LINE {
                    return Err(io::Error::other("a line without an end").into());
                }
                let mut begin = 0;
                while let Some(length) = waiting[begin..].iter().position(|byte| *byte == b'\n') {
                    let line = String::from_utf8_lossy(&waiting[begin..begin + length]);
                    if !on_line(&line) {
                        return Ok(());
                    }
                    begin += length + 1;
                }
                waiting.drain(..begin);
            }
            Ok(())
        })
    }

    fn whole(&self, method: Method, target: &str) -> Result<Bytes, AskError> {
        self.talk(async |client: Client| {
            let answer = client.answer(method, target).await?;
            Ok(answer.into_body().collect().await?.to_bytes())
        })
    }

    /// Runs one exchange with the platform to its end.
    fn talk<T>(
        &self,
        conversation: impl AsyncFnOnce(Client) -> Result<T, AskError>,
    ) -> Result<T, AskError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(conversation(self.clone()))
    }

    /// Sends a request. Returns the response with its head read, or the error that the platform answered.
    async fn answer(&self, method: Method, target: &str) -> Result<Response<Incoming>, AskError> {
        let socket = self.state.socket();
        let stream = hearth_sys::unix::connect(&socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning {
                manifest: self.manifest.display().to_string(),
            },
            _ => AskError::Io(error),
        })?;
        stream.set_nonblocking(true)?;
        let stream = TokioIo::new(UnixStream::from_std(stream)?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        // If the connection fails, the code that waits for the answer gets the error.
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::HOST, "hearth")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let answer = sender.send_request(request).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let bytes = answer.into_body().collect().await?.to_bytes();
        Err(AskError::Refused(serde_json::from_slice(&bytes)?))
    }
}

/// The path, with a query of those parameters that have a value.
pub fn target(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut target = path.to_owned();
    for (name, value) in parameters {
        if let Some(value) = value {
            let mark = if target.contains('?') { '&' } else { '?' };
            target.push(mark);
            target.push_str(name);
            target.push('=');
            target.extend(utf8_percent_encode(value, PLAIN));
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_carries_any_value_to_the_router() {
        let odd = "a&b=c +ü%";
        let parameters = [
            ("function", Some(odd)),
            ("level", None),
            ("lines", Some("7")),
        ];
        let target = target("/v1/logs", &parameters);
        let (path, query) = target.split_once('?').unwrap();
        let asked = crate::api::route::route("GET", path, Some(query)).unwrap();
        let crate::api::Request::Logs(query) = asked else {
            panic!("{asked:?}");
        };
        assert_eq!((query.function.as_deref(), query.lines), (Some(odd), 7));
    }
}
