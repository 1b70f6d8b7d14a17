//! The reference server: hyper alone, with one thread, which answers from memory.
//!
//! It runs in a separate process, so that its CPU time can be measured. The process is another instance of this
//! program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{LocalSet, spawn_local};

use crate::group::{Group, tied};
use crate::run::runtime;
use crate::scratch::Scratch;
use crate::server::{Server, free_port};

/// The response of every server, which is that of `examples/hello`.
pub(crate) const BODY: &str = r#"{"message":"hello from a warm process"}"#;

/// The listen address of the peer: `tcp:127.0.0.1:8080` or `unix:/path`.
#[derive(Debug, PartialEq)]
pub(crate) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        match text.split_once(':') {
            Some(("tcp", address)) => address.parse().map(At::Tcp).map_err(|e| e.to_string()),
            Some(("unix", path)) => Ok(At::Unix(path.into())),
            _ => Err(format!(
                "`{text}` is neither tcp:ADDRESS:PORT nor unix:PATH"
            )),
        }
    }
}

impl At {
    fn arg(&self) -> String {
        match self {
            At::Tcp(address) => format!("tcp:{address}"),
            At::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

pub(crate) async fn start() -> anyhow::Result<Server> {
    let scratch = Scratch::new()?;
    let address = free_port()?;
    let group = start_at(&At::Tcp(address), &scratch)?;
    let mut server = Server::of(address, vec![group], scratch).await?;
    // The process has the name of this program.
    for process in &mut server.processes {
        process.role = "hyper".to_owned();
    }
    Ok(server)
}

/// Starts only the process, without waiting for a response. The nginx benchmark uses it behind nginx.
pub(crate) fn start_at(at: &At, scratch: &Scratch) -> anyhow::Result<Group> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = tied(program)?;
    command.args(["peer", &at.arg()]);
    Group::start("hyper", &mut command, scratch)
}

/// Serves until the process is killed.
pub(crate) fn serve(at: &At) -> anyhow::Result<()> {
    LocalSet::new().block_on(&runtime()?, async {
        match at {
            At::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    spawn_local(speak(TokioIo::new(stream)));
                }
            }
            At::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    spawn_local(speak(TokioIo::new(stream)));
                }
            }
        }
    })
}

async fn speak(io: impl Read + Write + Unpin + 'static) {
    // The error is ignored: wrk closes its connections during requests when it ends.
    let _ = http1::Builder::new()
        .serve_connection(io, service_fn(hello))
        .await;
}

async fn hello(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, http::Error> {
    Response::builder()
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(Full::new(Bytes::from_static(BODY.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["tcp:127.0.0.1:8080", "unix:/tmp/a:b"] {
            assert_eq!(text.parse::<At>().map(|at| at.arg()), Ok(text.to_owned()));
        }
        assert!("tcp:nowhere".parse::<At>().is_err());
        assert!("127.0.0.1:80".parse::<At>().is_err());
    }
}
