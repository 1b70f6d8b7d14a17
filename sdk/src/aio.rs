//! An asynchronous worker, whose handlers run concurrently.
//!
//! The worker uses one thread and tokio's current-thread runtime. One task reads the control socket, two tasks serve
//! each data socket ([`socket`]), and one task serves each request. If the gateway cancels a request, because the
//! client has disconnected or the timeout has passed, the handler is dropped at the point where it waits.

mod body;
mod socket;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use hearth_protocol::control::Control;
use hearth_protocol::data::ErrorCode;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use crate::handshake::{self, ControlSocket, Step};
use crate::log::{self, Context};
use crate::panics;
use crate::request::Request;
use crate::response::{IntoResponse, Response};
use crate::serve::started;
use crate::slots::Incoming;
use crate::worker::Key;
pub use body::AsyncBodyWriter;
pub(crate) use body::{collect, piece, write};
pub(crate) use socket::Socket;

/// A future that writes a body, and returns the writer and the result.
pub(crate) type Written = LocalFuture<(AsyncBodyWriter, std::io::Result<()>)>;

pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Creates the state once and answers every request with `handle` until the platform stops the worker. Up to the
/// manifest's `concurrency` handlers run at the same time. Each handler gets a clone of the state, so use an `Rc` if
/// the state is more than a few handles.
///
/// An error or a panic of `start` is reported to the platform as the reason why the worker cannot start. If a handler
/// panics, the client gets a 500. If the client disconnects or the timeout passes, the handler is dropped at the
/// `.await` where it waits.
///
/// ```no_run
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use hearth_sdk::{Response, serve_async};
///
/// fn main() {
///     serve_async(
///         async || Ok::<_, Infallible>(Duration::from_millis(10)),
///         |pause, request| async move {
///             tokio::time::sleep(pause).await;
///             Response::text(request.path.as_str())
///         },
///     )
/// }
/// ```
pub fn serve_async<S, E, A>(
    start: impl AsyncFnOnce() -> Result<S, E> + 'static,
    handle: impl Fn(S, Request) -> A + 'static,
) where
    S: Clone + 'static,
    E: Into<Box<dyn Error>>,
    A: Future<Output: IntoResponse> + 'static,
{
    AsyncFunction::new(start).serve(handle);
}

/// A function whose handlers are asynchronous and run concurrently.
pub struct AsyncFunction<S, E> {
    start: Box<dyn FnOnce() -> LocalFuture<Result<S, E>>>,
    stop: Option<StopFn<S>>,
}

type StopFn<S> = Box<dyn FnOnce(S, Instant) -> LocalFuture<()>>;

impl<S: Clone + 'static, E: Into<Box<dyn Error>>> AsyncFunction<S, E> {
    /// A function whose state `start` creates. `start` may also spawn tasks with `tokio::task::spawn_local`, which run
    /// until the worker ends.
    pub fn new(start: impl AsyncFnOnce() -> Result<S, E> + 'static) -> AsyncFunction<S, E> {
        AsyncFunction {
            start: Box::new(|| Box::pin(async move { start().await })),
            stop: None,
        }
    }

    /// Calls `work` after the last response, before the worker ends. At the deadline, `work` is dropped.
    pub fn on_stop<A>(mut self, work: impl FnOnce(S, Instant) -> A + 'static) -> Self
    where
        A: Future<Output = ()> + 'static,
    {
        self.stop = Some(Box::new(|state, deadline| Box::pin(work(state, deadline))));
        self
    }

    /// Answers every request with `handle` until the platform stops the worker.
    pub fn serve<A>(self, handle: impl Fn(S, Request) -> A + 'static)
    where
        A: Future<Output: IntoResponse> + 'static,
    {
        handshake::config();
        panics::listen();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = started(Ok(runtime));
        LocalSet::new().block_on(&runtime, async {
            let made = panics::catch(self.start);
            let state = match made {
                Ok(future) => started(catch(future).await),
                Err(panic) => started(Err::<Result<_, E>, _>(panic)),
            };
            let own = state.clone();
            let handle = move |request| -> LocalFuture<Response> {
                let answer = handle(own.clone(), request);
                Box::pin(async { answer.await.into_response() })
            };
            let deadline = Worker::new(Box::new(handle)).run().await;
            if let Some(stop) = self.stop {
                let work = catch(stop(state, deadline));
                if let Ok(Err(message)) = tokio::time::timeout_at(deadline.into(), work).await {
                    log::error(message);
                }
            }
        });
    }
}

/// Awaits a future. If it panics, returns the message of the panic.
async fn catch<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match panics::catch(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

thread_local! {
    /// The worker of this thread. Bodies hold only a [`Key`] and find their socket here.
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// Whether an asynchronous worker runs on this thread, so that handlers must not block.
pub(crate) fn is_running() -> bool {
    WORKER.with_borrow(Option::is_some)
}

/// The data socket of this stream.
pub(crate) fn socket_of(key: Key) -> Option<Rc<Socket>> {
    WORKER.with_borrow(|worker| {
        let sockets = worker.as_ref()?.sockets.borrow();
        sockets.iter().find(|one| one.number == key.socket).cloned()
    })
}

/// The data sockets and the requests on them.
pub(crate) struct Worker {
    handle: Box<dyn Fn(Request) -> LocalFuture<Response>>,
    sockets: RefCell<Vec<Rc<Socket>>>,
    next_socket: Cell<u32>,
    /// Requests beyond `concurrency`, in the order in which they arrived.
    row: RefCell<VecDeque<(Rc<Socket>, Incoming, Instant)>>,
    running: Cell<u32>,
    ending: Cell<Ending>,
    changed: Notify,
}

/// Whether the worker is ending, and when the platform kills it.
#[derive(Clone, Copy, Debug)]
enum Ending {
    No,
    /// No new requests arrive. The worker ends when the gateway has closed its sockets.
    Draining(Instant),
    /// The worker ends when it has answered the requests that it has already read.
    Stopping(Instant),
}

impl Worker {
    fn new(handle: Box<dyn Fn(Request) -> LocalFuture<Response>>) -> Rc<Worker> {
        Rc::new(Worker {
            handle,
            sockets: RefCell::default(),
            next_socket: Cell::new(0),
            row: RefCell::default(),
            running: Cell::new(0),
            ending: Cell::new(Ending::No),
            changed: Notify::new(),
        })
    }

    /// Serves until the worker ends. Returns the deadline for the `on_stop` work.
    async fn run(self: Rc<Self>) -> Instant {
        WORKER.set(Some(Rc::clone(&self)));
        let Some(control) = handshake::control_socket() else {
            panic!("a worker serves in one way only");
        };
        spawn_local(Rc::clone(&self).listen(control));
        self.tell(Control::Ready);
        let deadline = loop {
            let changed = self.changed.notified();
            match self.ending.get() {
                Ending::No => changed.await,
                Ending::Draining(deadline) if self.sockets.borrow().is_empty() => break deadline,
                Ending::Draining(_) => changed.await,
                Ending::Stopping(deadline) => {
                    let done = self.running.get() == 0 && self.row.borrow().is_empty();
                    let late = tokio::time::timeout_at(deadline.into(), changed);
                    if done || late.await.is_err() {
                        break deadline;
                    }
                }
            }
        };
        let sockets = self.sockets.borrow().clone();
        for socket in sockets {
            // A gateway that no longer reads must not delay the end beyond the deadline.
            let _ = tokio::time::timeout_at(deadline.into(), socket.flushed()).await;
        }
        WORKER.set(None);
        deadline
    }

    fn end(&self, ending: Ending) {
        self.ending.set(ending);
        self.changed.notify_waiters();
    }

    fn tell(&self, message: Control<'_>) {
        if handshake::tell(message).is_err() {
            self.end(Ending::Stopping(Instant::now()));
        }
    }

    /// Reads and obeys control frames until the control socket closes.
    async fn listen(self: Rc<Self>, mut control: ControlSocket) {
        let nonblocking = control.stream.set_nonblocking(true);
        let reader = nonblocking.and_then(|()| control.stream.try_clone());
        let Ok(stream) = reader.and_then(tokio::net::UnixStream::from_std) else {
            return self.end(Ending::Stopping(Instant::now()));
        };
        loop {
            while let Some(step) = next_step(&mut control.buffer) {
                self.obey(step, &mut control.descriptors);
            }
            let mut fresh = Vec::new();
            let room = control.buffer.room();
            let read = stream.async_io(Interest::READABLE, || {
                hearth_sys::passing::receive(stream.as_fd(), room, &mut fresh)
            });
            match read.await {
                // The supervisor has closed the control socket, so the worker ends.
                Ok(0) | Err(_) => return self.end(Ending::Stopping(Instant::now())),
                Ok(count) => control.buffer.filled(count),
            }
            control.descriptors.extend(fresh);
        }
    }

    fn obey(self: &Rc<Self>, step: Step, descriptors: &mut VecDeque<OwnedFd>) {
        match step {
            Step::Attach(thread) => {
                if let Some(fd) = descriptors.pop_front() {
                    self.attach(thread, UnixStream::from(fd));
                }
            }
            Step::Pong(nonce) => self.tell(Control::Pong { nonce }),
            Step::Drain(deadline) => self.drain(deadline),
            Step::Stop(deadline) => self.end(Ending::Stopping(deadline)),
            Step::Nothing => {}
        }
    }

    fn attach(self: &Rc<Self>, thread: u32, stream: UnixStream) {
        let number = self.next_socket.get();
        self.next_socket.set(number + 1);
        match Socket::new(number, thread, stream, handshake::config().limits) {
            Ok(socket) => {
                let mut sockets = self.sockets.borrow_mut();
                sockets.retain(|one| one.thread != thread);
                sockets.push(Rc::clone(&socket));
                drop(sockets);
                spawn_local(Rc::clone(&socket).write_all());
                spawn_local(socket.read_all(Rc::clone(self)));
            }
            Err(error) => log::error(format_args!("data socket: {error}")),
        }
    }

    /// Removes a socket that has ended, and its requests that have not been started.
    pub(crate) fn detach(&self, number: u32) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|one| one.number != number);
        drop(sockets);
        let mut row = self.row.borrow_mut();
        row.retain(|(socket, ..)| socket.number != number);
        self.changed.notify_waiters();
    }

    /// Begins the drain. Requests that have not been started are returned to the gateway, but only those whose bodies
    /// are complete, because only these can be sent to another worker.
    fn drain(&self, deadline: Instant) {
        let row = std::mem::take(&mut *self.row.borrow_mut());
        let (whole, rest): (Vec<_>, Vec<_>) =
            row.into_iter().partition(|(_, incoming, _)| incoming.end);
        *self.row.borrow_mut() = rest.into();
        for socket in self.sockets.borrow().iter() {
            let mine = whole.iter().filter(|(of, ..)| of.number == socket.number);
            let not_started: Vec<u32> = mine.map(|(_, incoming, _)| incoming.stream).collect();
            socket.with(|slots, out| slots.goaway(&not_started, out));
        }
        self.end(Ending::Draining(deadline));
    }

    /// Queues requests that have arrived, and starts as many handlers as `concurrency` allows.
    pub(crate) fn take(self: &Rc<Self>, socket: &Rc<Socket>, requests: Vec<Incoming>) {
        let now = Instant::now();
        let requests = requests.into_iter();
        let mut row = self.row.borrow_mut();
        row.extend(requests.map(|incoming| (Rc::clone(socket), incoming, now)));
        drop(row);
        self.start_handlers();
    }

    fn start_handlers(self: &Rc<Self>) {
        while self.running.get() < handshake::config().concurrency {
            let next = self.row.borrow_mut().pop_front();
            let Some((socket, incoming, read)) = next else {
                return;
            };
            let stream = incoming.stream;
            if socket.with(|slots, _| slots.is_cancelled(stream)) {
                socket.refuse(stream, ErrorCode::Cancelled, "cancelled");
                continue;
            }
            let key = Key {
                socket: socket.number,
                stream,
            };
            match Request::from_incoming(incoming, key, read) {
                Ok(request) => {
                    self.running.set(self.running.get() + 1);
                    let place = Place(Rc::clone(self));
                    let answer = Rc::clone(self).answer(socket, stream, request);
                    spawn_local(async {
                        answer.await;
                        drop(place);
                    });
                }
                Err(error) => socket.refuse(stream, ErrorCode::Protocol, &error.to_string()),
            }
        }
    }

    async fn answer(self: Rc<Self>, socket: Rc<Socket>, stream: u32, request: Request) {
        let id = request.id.clone();
        let context = Context::of(id.clone());
        let begun = panics::catch(|| context.within(|| (self.handle)(request)));
        let answer = async {
            match begun {
                Ok(future) => catch(future).await,
                Err(message) => Err(message),
            }
        };
        let work = async {
            let response = answer.await;
            let response = response.unwrap_or_else(|message| panics::answer(&message, &id));
            socket.answer(stream, response).await
        };
        match unless_cancelled(&socket, stream, &context, work).await {
            Some(Ok(())) => {}
            Some(Err(reason)) => socket.refuse(stream, ErrorCode::Internal, &reason),
            None => socket.refuse(stream, ErrorCode::Cancelled, "cancelled"),
        }
    }
}

/// One of the `concurrency` places for handlers. It is freed when the handler ends, however it ends.
struct Place(Rc<Worker>);

impl Drop for Place {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.running.set(worker.running.get() - 1);
        worker.start_handlers();
        worker.changed.notify_waiters();
    }
}

/// Runs `work` with `context` as the current request. Drops `work` and returns `None` when the request is cancelled.
async fn unless_cancelled<T>(
    socket: &Socket,
    stream: u32,
    context: &Rc<Context>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx: &mut TaskContext<'_>| {
        if socket.is_unwanted(stream, cx) {
            return Poll::Ready(None);
        }
        context.within(|| work.as_mut().poll(cx)).map(Some)
    })
    .await
}

fn next_step(buffer: &mut hearth_protocol::FrameBuffer) -> Option<Step> {
    let message = match buffer.next_frame() {
        Ok(None) => return None,
        Ok(Some(frame)) => Control::parse(&frame).map(Step::of),
        Err(error) => Err(error),
    };
    Some(message.unwrap_or_else(|error| {
        log::error(format_args!("control socket: {error}"));
        Step::Stop(Instant::now())
    }))
}
