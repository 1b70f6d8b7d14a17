//! Listeners, their connections, and how both end.
//!
//! A permit is acquired before a connection is accepted. So connections above the limit wait in the kernel and cost the
//! gateway nothing.

use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::client::{Client, Traffic};
use crate::serve::{Connection, serve};
use crate::tally::{OneOpen, Open};
use crate::thread::Thread;
use crate::time_limits::End;

/// How long a client may take for its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(15);

/// How long an idle client has to notice that its connection is being closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pause after `accept` failed because descriptors or memory were exhausted. Other connections will release some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Interval at which the first bytes are peeked at again while a client has sent less than four.
const PEEK_PAUSE: Duration = Duration::from_millis(10);

/// Space above the head limit in hyper's buffer. The gateway answers a head that is a little too large with its own
/// error; only a much larger one is answered by hyper.
const HEAD_SLACK: usize = 64 * 1024;

/// Maximum number of concurrent streams of one HTTP/2 client. nginx and others allow the same number.
const MAX_STREAMS: u32 = 128;

/// Whether and how the listeners close.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// The listeners stay open.
    No,
    /// Idle connections close at once, all others within this time.
    Within(Duration),
}

/// The listeners of one thread.
pub struct Doors {
    /// Listeners for plain HTTP.
    pub http: Vec<StdTcpListener>,
    /// Listeners for TLS.
    pub https: Vec<StdTcpListener>,
    /// TLS settings.
    pub tls: Arc<ServerConfig>,
    /// One permit per connection, shared by all threads.
    pub permits: Arc<Semaphore>,
    /// Counts open connections.
    pub open: Open,
}

impl Doors {
    /// Starts to accept connections on this thread.
    pub fn open(self, tasks: &mut JoinSet<()>, thread: &Rc<Thread>, stop: &watch::Receiver<Stop>) {
        let acceptor = TlsAcceptor::from(self.tls);
        let plain = self.http.into_iter().map(|listener| (listener, None));
        let secure = self
            .https
            .into_iter()
            .map(|listener| (listener, Some(acceptor.clone())));
        for (listener, tls) in plain.chain(secure) {
            let ready = listener
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(listener));
            match ready {
                Ok(listener) => {
                    let permits = (Arc::clone(&self.permits), self.open.clone());
                    tasks.spawn_local(accept(
                        listener,
                        tls,
                        permits,
                        Rc::clone(thread),
                        stop.clone(),
                    ));
                }
                Err(error) => thread.log.line("error", format!("cannot accept: {error}")),
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    (permits, open): (Arc<Semaphore>, Open),
    thread: Rc<Thread>,
    mut stop: watch::Receiver<Stop>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            _ = stop.changed() => break,
            // Ended connections are removed at once, because their entries occupy memory.
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((socket, client)) => {
                connections.spawn_local(carry(
                    socket,
                    client,
                    tls.clone(),
                    Rc::clone(&thread),
                    stop.clone(),
                    (permit, open.one()),
                ));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                thread
                    .log
                    .line("warn", format!("cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Whether an error of accept(2) concerns only the connection and not the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Serves a connection from its first byte to its last. State that only some connections need, or that is needed only
/// at the beginning, is boxed: there are many connections, and most of them are idle most of the time, so their futures
/// must be small.
async fn carry(
    socket: TcpStream,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    thread: Rc<Thread>,
    stop: watch::Receiver<Stop>,
    _counted: (Result<OwnedSemaphorePermit, AcquireError>, OneOpen),
) {
    // Small responses are sent at once. The connection also works if the option cannot be set.
    let _ = socket.set_nodelay(true);
    let traffic = Traffic::new(Instant::now());
    let socket = Client::new(socket, Rc::clone(&traffic));
    let connection = |scheme| {
        // An IPv4 client of an IPv6 listener is shown with its IPv4 address.
        let shown = SocketAddr::new(client.ip().to_canonical(), client.port());
        let traffic = Rc::clone(&traffic);
        thread.watch(&traffic);
        traffic.shook_hands();
        Rc::new(Connection::new(Rc::clone(&thread), traffic, shown, scheme))
    };
    let conversation = match tls {
        None => {
            let words = first_words(begins_with_http2(socket.stream()), stop.clone());
            let Some(http2) = Box::pin(words).await else {
                return;
            };
            speak(TokioIo::new(socket), connection("http"), http2, stop)
        }
        Some(acceptor) => {
            let handshake = first_words(acceptor.accept(socket), stop.clone());
            let Some(stream) = Box::pin(handshake).await else {
                return;
            };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(TokioIo::new(stream), connection("https"), http2, stop)
        }
    };
    conversation.await;
}

/// Waits for the first bytes of a connection or for its handshake. Returns `None` if that fails or takes too long, or
/// if the gateway stops.
async fn first_words<T>(
    words: impl Future<Output = std::io::Result<T>>,
    mut stop: watch::Receiver<Stop>,
) -> Option<T> {
    tokio::select! {
        words = tokio::time::timeout(HANDSHAKE_TIME, words) => words.ok()?.ok(),
        _ = stop.changed() => None,
    }
}

/// Whether a client without TLS speaks HTTP/2 from the start (RFC 9113, section 3.3). No method of
/// HTTP/1.1 begins like its preface.
async fn begins_with_http2(socket: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    loop {
        let mut first = [0; PREFACE.len()];
        let count = socket.peek(&mut first).await?;
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // The peeked bytes stay readable, so readiness cannot be awaited. The loop can only wait for time to pass.
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

/// Creates the future that serves one connection, without polling it.
fn speak<I: Read + Write + Unpin + 'static>(
    io: I,
    connection: Rc<Connection>,
    http2: bool,
    stop: watch::Receiver<Stop>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let thread = Rc::clone(&connection.thread);
    let traffic = Rc::clone(&connection.traffic);
    let header_bytes = thread.live().limits.header_bytes as usize;
    // The future is boxed, so that its memory is in use only during a request.
    let service = service_fn(move |request| Box::pin(serve(Rc::clone(&connection), request)));
    if http2 {
        traffic.speaks_http2();
        let conversation = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(header_bytes + HEAD_SLACK).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(HANDSHAKE_TIME)
            .serve_connection(io, service);
        Box::pin(converse(
            Box::pin(conversation),
            http2::Connection::graceful_shutdown,
            (thread, traffic),
            stop,
        ))
    } else {
        let conversation = http1::Builder::new()
            // hyper would check the header timeout and a closed client for every request. `Traffic::judge` checks the
            // timeout once a second, and `Thread::watch_time` looks for closed clients every 100 ms.
            .header_read_timeout(None)
            .half_close(true)
            .max_buf_size(header_bytes + HEAD_SLACK)
            .serve_connection(io, service);
        Box::pin(converse(
            Box::pin(conversation),
            http1::Connection::graceful_shutdown,
            (thread, traffic),
            stop,
        ))
    }
}

/// Serves a connection until it ends, or until it must end. In the second case, the connection is shut down gracefully
/// if there is time.
async fn converse<C: Future>(
    mut conversation: Pin<Box<C>>,
    shut_down: impl FnOnce(Pin<&mut C>),
    (thread, traffic): (Rc<Thread>, Rc<Traffic>),
    mut stop: watch::Receiver<Stop>,
) {
    let outcome = {
        let mut told = std::pin::pin!(stop.changed());
        let mut listening = false;
        poll_fn(|cx| {
            // Polled once, so that the signal to stop wakes this task. It is polled again only while the thread stops,
            // and not for every request.
            if (!listening || thread.stopping.get()) && told.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Outcome::Stopped);
            }
            listening = true;
            if let Some(end) = traffic.ended(cx) {
                return Poll::Ready(Outcome::Ended(end));
            }
            // The result is an error if the client disconnects or does not speak HTTP. The gateway can do nothing about
            // it.
            conversation.as_mut().poll(cx).map(|_| Outcome::Over)
        })
        .await
    };
    let deadline = match outcome {
        Outcome::Over | Outcome::Ended(End::Gone | End::SlowHead | End::SlowReader | End::Deaf) => {
            return;
        }
        Outcome::Ended(End::Idle) => LAST_WORDS,
        Outcome::Stopped => match *stop.borrow() {
            Stop::Within(deadline) => deadline,
            Stop::No => Duration::ZERO,
        },
    };
    shut_down(conversation.as_mut());
    let _ = tokio::time::timeout(deadline, conversation).await;
}

/// Why the gateway stops serving a connection.
enum Outcome {
    /// The connection ended by itself.
    Over,
    /// The gateway stops.
    Stopped,
    /// A time limit has passed, or the client has closed the connection.
    Ended(End),
}

/// Runs hyper's tasks on the thread of their connection.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
