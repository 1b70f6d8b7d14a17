//! The load: clients that send different kinds of requests and check the responses.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use super::{Fault, Shared};

/// Size of the body of an upload in bytes. The function sends it back unchanged.
const LARGE: usize = 1 << 20;

/// Size of a streamed response in bytes.
const STREAM: usize = 4 << 20;

/// Timeout for the response head of a request. It is longer than any timeout of the platform.
const LIMIT: Duration = Duration::from_secs(40);

/// Pause after a failed connection.
const PAUSE: Duration = Duration::from_millis(20);

/// One kind of request.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    name: &'static str,
    method: Verb,
    target: &'static str,
    /// Size of the response body in bytes, if it is known.
    length: Option<usize>,
    /// Pause after each part of the response body.
    pause: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
}

impl Kind {
    /// Whether the gateway may send the request to another worker after the first has started but not completed it.
    pub(super) fn can_be_sent_twice(&self) -> bool {
        // A part of a streamed response may already have been sent to the client.
        self.method == Verb::Get && self.length != Some(STREAM)
    }
}

const SMALL: Kind = Kind {
    name: "small",
    method: Verb::Get,
    target: "/small",
    length: Some(5),
    pause: Duration::ZERO,
};
const SMALL_HTTP2: Kind = Kind {
    name: "small, HTTP/2",
    ..SMALL
};
const UPLOAD: Kind = Kind {
    name: "upload of 1 MiB",
    method: Verb::Post,
    target: "/echo",
    length: Some(LARGE),
    pause: Duration::ZERO,
};
const STREAMED: Kind = Kind {
    name: "stream of 4 MiB, slow reader",
    method: Verb::Get,
    target: "/stream?bytes=4194304",
    length: Some(STREAM),
    pause: Duration::from_millis(2),
};
const SLOW: Kind = Kind {
    name: "slow handler",
    method: Verb::Get,
    target: "/sleep?ms=50",
    length: None,
    pause: Duration::ZERO,
};
const FILLING: Kind = Kind {
    name: "burst",
    method: Verb::Get,
    target: "/sleep?ms=20",
    length: None,
    pause: Duration::ZERO,
};

/// Starts the clients of the steady load. Each client ends when `stop` is set.
pub(super) fn start(address: SocketAddr, shared: &Rc<Shared>) -> Vec<JoinHandle<()>> {
    let kinds = [(SMALL, 6), (UPLOAD, 1), (STREAMED, 1), (SLOW, 2)];
    let mut clients = Vec::new();
    for (kind, count) in kinds {
        for _ in 0..count {
            clients.push(spawn_local(speak_http1(
                address,
                kind,
                Rc::clone(shared),
                u64::MAX,
            )));
        }
    }
    clients.push(spawn_local(speak_http2(address, Rc::clone(shared))));
    clients
}

/// Sends `count` requests at once, each on its own connection.
pub(super) fn burst(address: SocketAddr, shared: &Rc<Shared>, count: usize) {
    for _ in 0..count {
        spawn_local(speak_http1(address, FILLING, Rc::clone(shared), 1));
    }
}

async fn speak_http1(address: SocketAddr, kind: Kind, shared: Rc<Shared>, mut left: u64) {
    while left > 0 && !shared.stop.get() {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                // The listeners are never closed, so no fault excuses a refused connection.
                shared.count(kind.name, |one| one.sent += 1);
                lose(&shared, &kind, None, &format!("connect: {error}"));
                left -= 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else {
            continue;
        };
        let driver = spawn_local(connection);
        while left > 0 && !shared.stop.get() {
            left -= 1;
            if sender.ready().await.is_err() {
                break;
            }
            let asked = Instant::now();
            shared.count(kind.name, |one| one.sent += 1);
            let answer = tokio::time::timeout(LIMIT, sender.send_request(request(kind)));
            let answer = match answer.await {
                Ok(Ok(response)) => judge(response, kind).await,
                Ok(Err(error)) => Err(with_causes(error)),
                Err(_) => Err("no answer at all".to_owned()),
            };
            if !book(&shared, &kind, answer, asked) {
                tokio::time::sleep(PAUSE).await;
                break;
            }
        }
        driver.abort();
    }
}

/// Sends requests over one connection with eight concurrent streams.
async fn speak_http2(address: SocketAddr, shared: Rc<Shared>) {
    while !shared.stop.get() {
        let Ok(stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok((sender, connection)) = http2::handshake(Local, TokioIo::new(stream)).await else {
            continue;
        };
        let driver = spawn_local(connection);
        let streams: Vec<_> = (0..8)
            .map(|_| {
                let (mut sender, shared) = (sender.clone(), Rc::clone(&shared));
                spawn_local(async move {
                    while !shared.stop.get() && sender.ready().await.is_ok() {
                        let asked = Instant::now();
                        shared.count(SMALL_HTTP2.name, |one| one.sent += 1);
                        let answer = match sender.send_request(request(SMALL_HTTP2)).await {
                            Ok(response) => judge(response, SMALL_HTTP2).await,
                            Err(error) => Err(with_causes(error)),
                        };
                        if !book(&shared, &SMALL_HTTP2, answer, asked) {
                            return;
                        }
                        // Without the pause, these requests would be most of the load.
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                })
            })
            .collect();
        for one in streams {
            let _ = one.await;
        }
        driver.abort();
        tokio::time::sleep(PAUSE).await;
    }
}

/// The outcome of a request that got a response.
enum Answer {
    Right,
    Wrong(String),
    /// Layer and detail of an error response.
    Refused(String, String),
}

fn request(kind: Kind) -> Request<Full<Bytes>> {
    let (method, body) = match kind.method {
        Verb::Get => (Method::GET, Bytes::new()),
        Verb::Post => (Method::POST, Bytes::from(vec![b'u'; LARGE])),
    };
    let uri = format!("http://chaos{}", kind.target);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = match kind.name == SMALL_HTTP2.name {
        true => uri.parse().expect("it is a URI"),
        false => kind.target.parse().expect("it is a path"),
    };
    let host = http::HeaderValue::from_static("chaos");
    request.headers_mut().insert(http::header::HOST, host);
    request
}

async fn judge(
    response: http::Response<hyper::body::Incoming>,
    kind: Kind,
) -> Result<Answer, String> {
    let status = response.status();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(with_causes)?;
        if let Ok(data) = frame.into_data() {
            length += data.len();
            if bytes.len() < 4096 {
                bytes.extend_from_slice(&data);
            }
        }
        if !kind.pause.is_zero() {
            tokio::time::sleep(kind.pause).await;
        }
    }
    if status.is_success() {
        return Ok(match kind.length {
            Some(expect) if expect != length => {
                Answer::Wrong(format!("{length} bytes and not {expect}"))
            }
            _ => Answer::Right,
        });
    }
    let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let layer = problem["layer"].as_str().unwrap_or("nobody").to_owned();
    Ok(Answer::Refused(
        format!("{layer} ({})", status.as_u16()),
        problem["detail"].to_string(),
    ))
}

/// Counts the outcome of a request. Returns whether the connection can still be used.
fn book(shared: &Shared, kind: &Kind, answer: Result<Answer, String>, asked: Instant) -> bool {
    match answer {
        Ok(Answer::Right) => shared.count(kind.name, |one| one.answered += 1),
        Ok(Answer::Wrong(what)) => {
            example(shared, "wrong", &what);
            shared.count(kind.name, |one| one.wrong += 1);
        }
        Ok(Answer::Refused(layer, detail)) => {
            example(shared, &format!("refused by {layer}"), &detail);
            shared.count(kind.name, |one| {
                *one.refused.entry(layer).or_default() += 1;
            });
        }
        Err(what) => {
            lose(shared, kind, shared.cause(asked), &what);
            return false;
        }
    }
    true
}

fn lose(shared: &Shared, kind: &Kind, cause: Option<Fault>, what: &str) {
    let name = cause.map_or("unexplained", Fault::name);
    example(shared, &format!("lost, {name}"), what);
    let excused = cause.is_some_and(|fault| fault.excuses(kind));
    shared.count(kind.name, |one| {
        *one.lost.entry(name.to_owned()).or_default() += 1;
        one.inexcusable += u64::from(!excused);
    });
}

fn example(shared: &Shared, what: &str, text: &str) {
    let mut examples = shared.examples.borrow_mut();
    examples
        .entry(what.to_owned())
        .or_insert_with(|| text.to_owned());
}

fn with_causes(error: hyper::Error) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// Runs hyper's tasks on the current thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
