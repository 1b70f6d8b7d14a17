//! The loop in the function's own hands.
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
//! A process is one worker, so its sockets are this module's one global. [`crate::serve`](fn@crate::serve) does the
//! same and turns a panic of the handler into a 500 besides; here a panic ends the worker, and a new
//! one is started.

use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::request::Request;
use crate::response::{BodyWriter, Response, ResponseBody};
use crate::worker::{Event, Key, Worker};

static WORKER: OnceLock<Mutex<Worker>> = OnceLock::new();
static CURRENT: Mutex<Option<Key>> = Mutex::new(None);

/// Waits for the next request. When the platform stops the worker, this ends the process.
pub fn read_request() -> Request {
    loop {
        match next(None) {
            Next::Request(request) => return *request,
            Next::Idle => {}
            Next::End(_) => std::process::exit(0),
        }
    }
}

/// Answers the request that [`read_request`] returned last. Without one it does nothing.
pub fn send_response(response: Response) {
    let Some(key) = lock(&CURRENT).take() else {
        return;
    };
    worker().answer(key, &response);
    match response.body {
        ResponseBody::Whole(_) => {}
        ResponseBody::Stream(write) => {
            // The head goes out before the body is made, and the lock is free while it is.
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

/// What there is to do next.
pub(crate) enum Next {
    Request(Box<Request>),
    /// Nothing has come for as long as was asked.
    Idle,
    /// The end, within this time.
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

/// Breaks off the answer under way, if its body is being streamed.
pub(crate) fn fail_stream(key: Key, reason: &str) {
    worker().fail(key, reason);
}

pub(crate) fn current() -> Option<Key> {
    *lock(&CURRENT)
}

/// The worker; the first call shakes hands with the supervisor.
fn worker() -> MutexGuard<'static, Worker> {
    lock(WORKER.get_or_init(|| {
        let worker = Worker::start();
        Mutex::new(worker.expect("a worker serves in one way only"))
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
