//! Single requests that check a server's response before the server is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::BODY;

/// Timeout for connecting and for a response. Only a server that hangs takes that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A keep-alive connection to a server.
pub(crate) struct Probe {
    at: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
}

impl Probe {
    pub(crate) async fn connect(at: SocketAddr) -> anyhow::Result<Probe> {
        let stream = timeout(PATIENCE, TcpStream::connect(at)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The task ends when the sender is dropped, or when the server closes the connection. In the latter case the
        // sender returns an error.
        tokio::spawn(connection);
        Ok(Probe { at, sender })
    }

    /// Sends a request and fails if the response is not the common JSON response of all servers.
    pub(crate) async fn hello(&mut self) -> anyhow::Result<()> {
        self.expect("/", BODY).await
    }

    /// Sends a request and fails if the response is not this JSON.
    pub(crate) async fn expect(&mut self, path: &str, json: &str) -> anyhow::Result<()> {
        timeout(PATIENCE, self.ask(path, json))
            .await
            .context("no answer in time")?
    }

    async fn ask(&mut self, path: &str, expected: &str) -> anyhow::Result<()> {
        self.sender.ready().await?;
        let request = Request::get(path)
            .header(HOST, self.at.to_string())
            .body(Empty::new())?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        if head.status != StatusCode::OK || body != expected.as_bytes() {
            bail!("{} {}", head.status, String::from_utf8_lossy(&body).trim());
        }
        let json = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/json");
        ensure!(
            head.headers.get(CONTENT_TYPE).is_some_and(json),
            "the content type is not application/json"
        );
        Ok(())
    }
}
