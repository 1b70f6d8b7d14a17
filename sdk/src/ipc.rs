//! The request loop, for functions that drive it themselves.
//!
//! ```no_run
//! use hearth_sdk::{Request, Response, ipc};
//!
//! # struct AppState;
//! # impl AppState { fn new() -> Self { AppState } }
//! # fn handle_request(_: &mut AppState, _: Request) -> Response { Response::ok() }
//! fn main() {
//!     let mut state = AppState::new();
//!     loop {
//!         let req = ipc::read_request();
//!         let res = handle_request(&mut state, req);
//!         ipc::send_response(res);
//!     }
//! }
//! ```
//!
//! A process is one worker, so this module keeps the worker's sockets in a global. [`crate::serve`](fn@crate::serve)
//! runs the same loop and also turns a panic of the handler into a 500. With this module, a panic ends the worker, and
//! the supervisor starts a new one.

use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::request::Request;
use crate::response::{BodyWriter, Response, ResponseBody};
use crate::worker::{Event, Key, Worker};

static WORKER: OnceLock<Mutex<Worker>> = OnceLock::new();
static CURRENT: Mutex<Option<Key>> = Mutex::new(None);

/// Waits for the next request. Exits the process when the platform stops the worker.
pub fn read_request() -> Request {
    loop {
        match next(None) {
            Next::Request(request) => return *request,
            Next::Idle => {}
            Next::End(_) => std::process::exit(0),
        }
    }
}

/// Sends the response to the request that [`read_request`] returned last. Does nothing if there is no such request, or
/// it has a response already.
pub fn send_response(response: Response) {
    let Some(key) = lock(&CURRENT).take() else {
        return;
    };
    worker().answer(key, &response);
    match response.body {
        ResponseBody::Whole(_) => {}
        ResponseBody::Stream(write) => {
            // Send the head before `write` produces the body. The lock is free meanwhile, because `write` needs it.
            let result = flush(key).and_then(|()| write(&mut BodyWriter::new(key)));
            match result {
                Ok(()) => worker().finish(key),
                Err(error) => worker().fail(key, &error.to_string()),
            }
        }
        #[cfg(feature = "async")]
        ResponseBody::Async(_) => {
            worker().fail(key, "an asynchronous body, of a handler that blocks");
        }
    }
}

/// What the worker must do next.
pub(crate) enum Next {
    Request(Box<Request>),
    /// Nothing has arrived within the given time.
    Idle,
    /// The worker must end before this deadline.
    End(Instant),
}

pub(crate) fn next(patience: Option<Duration>) -> Next {
    match worker().next(patience) {
        Event::Request(key, request) => {
            *lock(&CURRENT) = Some(key);
            Next::Request(request)
        }
        Event::Idle => Next::Idle,
        Event::End(deadline) => Next::End(deadline),
    }
}

pub(crate) fn read_body(key: Key, room: &mut [u8]) -> io::Result<usize> {
    worker().read_body(key, room)
}

pub(crate) fn write_body(key: Key, bytes: &[u8]) -> io::Result<usize> {
    worker().write_body(key, bytes)
}

pub(crate) fn flush(key: Key) -> io::Result<()> {
    worker().flush(key)
}

/// Aborts the response of this stream, if it is not complete.
pub(crate) fn fail_stream(key: Key, reason: &str) {
    worker().fail(key, reason);
}

pub(crate) fn current() -> Option<Key> {
    *lock(&CURRENT)
}

/// Locks the worker. The first call performs the handshake with the supervisor.
fn worker() -> MutexGuard<'static, Worker> {
    lock(WORKER.get_or_init(|| {
        let worker = Worker::start();
        Mutex::new(worker.expect("a worker serves in one way only"))
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
