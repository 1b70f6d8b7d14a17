//! The loop most functions run: make the state, answer requests with it, survive panics.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ipc;
use crate::problem::Problem;
use crate::request::Request;
use crate::response::{IntoResponse, Response, ResponseBody};

/// Exit status of a worker whose state could not be made.
const EXIT_FAILED: i32 = 1;

thread_local! {
    /// Message and place of the last panic, left here by the hook for the place that catches it.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes the state once and answers every request with `handle` until the platform stops the worker;
/// then drops the state and returns.
///
/// A panic of the handler becomes a 500 with the request's id; its message and place go to the log.
/// The state is kept, so a handler should not leave it half changed when it panics. A panic while
/// the state is made is told to the platform as the reason why this worker cannot start.
pub fn serve<S, R: IntoResponse>(
    make_state: impl FnOnce() -> S,
    mut handle: impl FnMut(&mut S, Request) -> R,
) {
    // Shakes hands first, so that whatever happens next can be told.
    ipc::config();
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.set(Some(info.to_string()));
    }));
    let mut state = match catch_unwind(AssertUnwindSafe(make_state)) {
        Ok(state) => state,
        Err(payload) => {
            ipc::start_failed(&panic_text(&*payload));
            std::process::exit(EXIT_FAILED);
        }
    };
    while let Some(request) = ipc::next() {
        let id = request.id.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            handle(&mut state, request).into_response()
        }));
        let response = outcome.unwrap_or_else(|payload| {
            ipc::log("error", &panic_text(&*payload), Some(&id));
            panic_response(&id)
        });
        send(response, &id);
    }
}

/// Sends a response whose streamed body may panic, too.
fn send(response: Response, id: &str) {
    let streamed = matches!(response.body, ResponseBody::Stream(_));
    if !streamed {
        ipc::send_response(response);
        return;
    }
    let key = ipc::current();
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| ipc::send_response(response))) {
        ipc::log("error", &panic_text(&*payload), Some(id));
        if let Some(key) = key {
            ipc::fail_stream(key, "the handler panicked");
        }
    }
}

fn panic_response(id: &str) -> Response {
    Problem::new(500, "The function failed")
        .detail("The handler panicked; the log has the reason under this request id.")
        .with("layer", "worker")
        .with("request", id)
        .into()
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    LAST_PANIC
        .take()
        .unwrap_or_else(|| match payload.downcast_ref::<&str>() {
            Some(text) => format!("panicked: {text}"),
            None => "panicked".to_owned(),
        })
}
