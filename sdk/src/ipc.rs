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
//! A process is one worker, so its sockets are this module's one global. [`crate::serve`] does the
//! same and turns a panic of the handler into a 500 besides; here a panic ends the worker, and a new
//! one is started.

use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hearth_protocol::head::Config;

use crate::request::Request;
use crate::response::{BodyWriter, Response, ResponseBody};
use crate::worker::{Key, Worker};

/// Exit status of a worker that could not get to know its platform: a usage error.
const EXIT_USAGE: i32 = 2;

static WORKER: OnceLock<Mutex<Worker>> = OnceLock::new();
static CURRENT: Mutex<Option<Key>> = Mutex::new(None);

/// Waits for the next request. When the platform stops the worker, this ends the process.
pub fn read_request() -> Request {
    match next() {
        Some(request) => request,
        None => std::process::exit(0),
    }
}

/// Answers the request that [`read_request`] returned last. Without one it does nothing.
pub fn send_response(response: Response) {
    let Some(key) = lock(&CURRENT).take() else {
        return;
    };
    worker().answer(key, &response);
    if let ResponseBody::Stream(write) = response.body {
        // The head goes out before the body is made, and the lock is free while it is.
        let result = flush(key).and_then(|()| write(&mut BodyWriter::new(key)));
        match result {
            Ok(()) => worker().finish(key),
            Err(error) => worker().fail(key, &error.to_string()),
        }
    }
}

/// What the platform told this worker at its start.
pub(crate) fn config() -> &'static Config {
    worker().config()
}

pub(crate) fn next() -> Option<Request> {
    let (key, request) = worker().next()?;
    *lock(&CURRENT) = Some(key);
    Some(request)
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

pub(crate) fn start_failed(message: &str) {
    worker().start_failed(message);
}

pub(crate) fn log(level: &str, message: &str, request: Option<&str>) {
    worker().log(level, message, request);
}

/// The worker; the first call shakes hands with the supervisor.
fn worker() -> MutexGuard<'static, Worker> {
    lock(WORKER.get_or_init(|| match Worker::start() {
        Ok(worker) => Mutex::new(worker),
        Err(error) => {
            report(&error);
            std::process::exit(EXIT_USAGE);
        }
    }))
}

#[expect(
    clippy::print_stderr,
    reason = "without a platform there is nowhere else to say it"
)]
fn report(error: &dyn std::error::Error) {
    eprint!("{error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
