//! Catches the panics of handlers, logs them, and answers with a 500.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::log;
use crate::problem::Problem;
use crate::response::Response;

thread_local! {
    /// Message and source location of the last panic on this thread. The panic hook stores them for [`catch`].
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that prints nothing and stores the message for [`catch`]. With the feature `tracing`, also
/// sends the events of `tracing` to the log.
pub(crate) fn listen() {
    #[cfg(feature = "tracing")]
    crate::trace::listen();
    std::panic::set_hook(Box::new(|info| {
        LAST.set(Some(info.to_string()));
    }));
}

/// Runs `work`. If it panics, returns the message of the panic.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| text(&*payload))
}

/// Logs the message of a panic and returns the response to the request whose handler panicked.
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
