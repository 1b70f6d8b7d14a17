//! Asks a running platform over its control socket, for the command line: one request a connection,
//! answers as the types of this API.

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

/// What stands in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':');

/// Longest line of an answer that comes in lines: far more than any record.
const LINE: usize = 16 << 20;

/// Why a platform could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// None runs from this manifest.
    #[error("no platform runs from {manifest}; start one with `hearth up {manifest}`")]
    NotRunning {
        /// Which.
        manifest: String,
    },
    /// The socket failed.
    #[error("cannot talk to the platform")]
    Io(#[from] io::Error),
    /// The answer broke off, or was no HTTP.
    #[error("cannot talk to the platform")]
    Http(#[from] hyper::Error),
    /// The answer was not understood.
    #[error("the platform's answer is not understood; is it of another version?")]
    Answer(#[from] serde_json::Error),
    /// The platform says no.
    #[error("{0}")]
    Refused(Problem),
}

/// A platform, by its manifest and where it keeps its state.
#[derive(Clone, Debug)]
pub struct Client {
    manifest: PathBuf,
    state: StateDir,
}

impl Client {
    /// The one that runs from this manifest with this state.
    pub fn of(manifest: &Path, state: StateDir) -> Client {
        Client {
            manifest: manifest.to_owned(),
            state,
        }
    }

    /// Asks with GET and reads the JSON of the answer.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, AskError> {
        Ok(serde_json::from_slice(&self.whole(Method::GET, target)?)?)
    }

    /// Asks with POST and reads the JSON of the answer.
    pub fn post<T: DeserializeOwned>(&self, target: &str) -> Result<T, AskError> {
        Ok(serde_json::from_slice(&self.whole(Method::POST, target)?)?)
    }

    /// Asks with GET for a text.
    pub fn text(&self, target: &str) -> Result<String, AskError> {
        let bytes = self.whole(Method::GET, target)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks with GET; `on_line` gets each line as it comes and says whether to go on.
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

    /// Runs one conversation to its end.
    fn talk<T>(
        &self,
        conversation: impl AsyncFnOnce(Client) -> Result<T, AskError>,
    ) -> Result<T, AskError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(conversation(self.clone()))
    }

    /// The head of an answer, unless that says no.
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
        // Its end is seen by whoever waits for the answer.
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

/// A path with those of the parameters that have a value.
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
