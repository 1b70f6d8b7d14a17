//! Doors: listeners, connections on them, and how both end.
//!
//! A permit is taken before a connection is accepted, so that what is too much waits in the kernel
//! and costs nothing here.

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

use crate::client::{Client, End, Traffic};
use crate::serve::{Connection, serve};
use crate::tally::{OneOpen, Open};
use crate::thread::Thread;

/// For so long a client may take for its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(15);

/// For so long a client that was idle may take to see that its connection is being closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Pause after an `accept` that failed for want of descriptors or memory: others will free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two looks at a client that has sent less than four bytes.
const PEEK_PAUSE: Duration = Duration::from_millis(10);

/// Room above the head limit for hyper's buffer, so that a head a little too large is answered by
/// us, in our own words, and only a huge one by hyper.
const HEAD_SLACK: usize = 64 * 1024;

/// Streams one HTTP/2 client may have open; nginx and others give as many.
const MAX_STREAMS: u32 = 128;

/// How the doors close.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Not yet.
    No,
    /// Idle connections at once, the rest within this time.
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
    /// Counts them.
    pub open: Open,
}

impl Doors {
    /// Starts to accept on this thread.
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
            // Ended connections are let go of at once: as long as they are listed, they take memory.
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

/// Errors that say something about the connection and nothing about the listener (accept(2)).
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Carries a connection from its first byte to its last. What only some connections need, and what
/// is needed only in the beginning, has boxes of its own: most connections wait most of the time, and
/// there are many.
async fn carry(
    socket: TcpStream,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    thread: Rc<Thread>,
    stop: watch::Receiver<Stop>,
    _counted: (Result<OwnedSemaphorePermit, AcquireError>, OneOpen),
) {
    // Small answers go out at once; a socket that refuses this works without it.
    let _ = socket.set_nodelay(true);
    let traffic = Traffic::new(Instant::now());
    let socket = Client::new(socket, Rc::clone(&traffic));
    let connection = |scheme| {
        // A v4 client of a v6 listener is shown as what it is.
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

/// What a client begins with, unless it fails, takes too long, or it is time to stop.
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
        // What has come stays readable, so there is nothing to wait for but time.
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

/// The conversation of one connection, not begun yet.
fn speak<I: Read + Write + Unpin + 'static>(
    io: I,
    connection: Rc<Connection>,
    http2: bool,
    stop: watch::Receiver<Stop>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let thread = Rc::clone(&connection.thread);
    let traffic = Rc::clone(&connection.traffic);
    let header_bytes = thread.live().limits.header_bytes as usize;
    // In a box, which is there only as long as the request.
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
            // Both would be looked after for every request; `Traffic` does so once a second.
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

/// Carries a conversation to its end, or to its orderly end when it is time to stop.
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
            // Asked once, so that it wakes this task when the time comes, and then not again for
            // every request.
            if (!listening || thread.stopping.get()) && told.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Outcome::Stopped);
            }
            listening = true;
            if let Some(end) = traffic.ended(cx) {
                return Poll::Ready(Outcome::Ended(end));
            }
            // Ends with an error where the client goes away or speaks no HTTP: nothing to be done.
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

/// How a conversation ended.
enum Outcome {
    /// By itself.
    Over,
    /// It is time to stop.
    Stopped,
    /// Its time was over, or the client is gone.
    Ended(End),
}

/// Runs hyper's tasks on the thread that carries their connection.
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
