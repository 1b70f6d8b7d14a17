//! The lifecycle of a blocking function: create the state, answer requests, catch panics, stop.

use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use hearth_protocol::control::Control;

use crate::causes::with_causes;
use crate::handshake;
use crate::ipc::{self, Next};
use crate::log::{self, Context};
use crate::panics;
use crate::request::Request;
use crate::response::{IntoResponse, Response, ResponseBody};

/// Exit status of a worker whose state could not be created.
const EXIT_FAILED: i32 = 1;

/// Creates the state once and answers every request with `handle` until the platform stops the worker; then drops the
/// state and returns.
///
/// If the handler panics, the client gets a 500 with the request's id, and the log gets the message and the source
/// location. The state is kept, so a handler should not leave it half changed when it panics. A panic of `make_state`
/// is reported to the platform as the reason why the worker cannot start.
///
/// If the start can fail, or the function needs to act when it is idle or stops, use [`Function`].
pub fn serve<S, R: IntoResponse>(
    make_state: impl FnOnce() -> S,
    handle: impl FnMut(&mut S, Request) -> R,
) {
    Function::new(|| Ok::<S, Infallible>(make_state())).serve(handle);
}

/// A function whose handlers run one at a time.
///
/// ```no_run
/// use std::time::Duration;
/// use hearth_sdk::{Function, Request, Response};
///
/// struct Index(Vec<String>);
///
/// fn main() {
///     Function::new(|| std::fs::read_to_string("words").map(|text| Index(text.lines().map(str::to_owned).collect())))
///         .on_idle(Duration::from_secs(60), |index: &mut Index| index.0.sort())
///         .on_stop(|index, _deadline| hearth_sdk::log::info(format_args!("{} words", index.0.len())))
///         .serve(|index, _request| Response::text(index.0.len().to_string()))
/// }
/// ```
pub struct Function<'a, S, E> {
    start: Box<dyn FnOnce() -> Result<S, E> + 'a>,
    idle: Option<(Duration, IdleFn<'a, S>)>,
    stop: Option<StopFn<'a, S>>,
}

type IdleFn<'a, S> = Box<dyn FnMut(&mut S) + 'a>;
type StopFn<'a, S> = Box<dyn FnOnce(&mut S, Instant) + 'a>;

impl<'a, S, E: Into<Box<dyn Error>>> Function<'a, S, E> {
    /// A function whose state `start` creates. If `start` fails, its error is reported to the platform as the reason
    /// why the worker cannot start. The platform then refuses the reload with this reason and continues to serve the
    /// previous release.
    pub fn new(start: impl FnOnce() -> Result<S, E> + 'a) -> Function<'a, S, E> {
        Function {
            start: Box::new(start),
            idle: None,
            stop: None,
        }
    }

    /// Calls `work` whenever no request has arrived for the duration `after`, repeatedly. Requests that arrive
    /// meanwhile wait until `work` returns.
    pub fn on_idle(mut self, after: Duration, work: impl FnMut(&mut S) + 'a) -> Function<'a, S, E> {
        self.idle = Some((after, Box::new(work)));
        self
    }

    /// Calls `work` after the last response, before the worker ends. The platform kills the worker at the deadline.
    pub fn on_stop(mut self, work: impl FnOnce(&mut S, Instant) + 'a) -> Function<'a, S, E> {
        self.stop = Some(Box::new(work));
        self
    }

    /// Answers every request with `handle` until the platform stops the worker.
    pub fn serve<R: IntoResponse>(mut self, mut handle: impl FnMut(&mut S, Request) -> R) {
        // Perform the handshake first, so that a failure of the start can be reported to the platform.
        handshake::config();
        panics::listen();
        let mut state = started(panics::catch(self.start));
        let patience = self.idle.as_ref().map(|(after, _)| *after);
        let deadline = loop {
            match ipc::next(patience) {
                Next::Request(request) => answer(&mut state, *request, &mut handle),
                Next::Idle => {
                    if let Some((_, work)) = &mut self.idle
                        && let Err(message) = panics::catch(|| work(&mut state))
                    {
                        log::error(message);
                    }
                }
                Next::End(deadline) => break deadline,
            }
        };
        if let Some(work) = self.stop
            && let Err(message) = panics::catch(|| work(&mut state, deadline))
        {
            log::error(message);
        }
    }
}

/// Returns the state. If the start failed, reports the reason to the platform and exits the process.
pub(crate) fn started<S, E: Into<Box<dyn Error>>>(made: Result<Result<S, E>, String>) -> S {
    let message = match made {
        Ok(Ok(state)) => return state,
        Ok(Err(error)) => with_causes(&*error.into()),
        Err(panic) => panic,
    };
    // An error means that the supervisor has ended, and the report is not needed.
    let _ = handshake::tell(Control::StartFailed { message: &message });
    std::process::exit(EXIT_FAILED)
}

fn answer<S, R: IntoResponse>(
    state: &mut S,
    request: Request,
    handle: &mut impl FnMut(&mut S, Request) -> R,
) {
    let id = request.id.clone();
    Context::of(id.clone()).within(|| {
        let outcome = panics::catch(|| handle(state, request).into_response());
        let response = outcome.unwrap_or_else(|message| panics::answer(&message, &id));
        send(response);
    });
}

/// Sends a response. If its streamed body panics, logs the panic and aborts the response.
fn send(response: Response) {
    if !matches!(response.body, ResponseBody::Stream(_)) {
        ipc::send_response(response);
        return;
    }
    let key = ipc::current();
    if let Err(message) = panics::catch(|| ipc::send_response(response)) {
        log::error(message);
        if let Some(key) = key {
            ipc::fail_stream(key, "the handler panicked");
        }
    }
}
