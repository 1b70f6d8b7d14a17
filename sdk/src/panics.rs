//! Panics of handlers: caught, told to the log, answered with a 500.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::log;
use crate::problem::Problem;
use crate::response::Response;

thread_local! {
    /// Message and place of the last panic, left here by the hook for the place that catches it.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is told by whoever catches it, and by nobody else; events of `tracing` are lines.
pub(crate) fn listen() {
    #[cfg(feature = "tracing")]
    crate::trace::listen();
    std::panic::set_hook(Box::new(|info| {
        LAST.set(Some(info.to_string()));
    }));
}

/// What `work` returns, or what it says when it panics.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| text(&*payload))
}

/// The answer to a request whose handler panicked with this message, which goes to the log.
pub(crate) fn answer(message: &str, id: &str) -> Response {
    log::error(message);
    Problem::new(500, "The function failed")
        .detail("The handler panicked; the log has the reason under this request id.")
        .with("layer", "worker")
        .with("request", id)
        .into()
}

fn text(payload: &(dyn Any + Send)) -> String {
    LAST.take()
        .unwrap_or_else(|| match payload.downcast_ref::<&str>() {
            Some(text) => format!("panicked: {text}"),
            None => "panicked".to_owned(),
        })
}
