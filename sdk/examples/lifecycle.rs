//! A function that logs its lifecycle: a start that can fail, work while it is idle, and a stop.

use std::time::{Duration, Instant};

use hearth_sdk::{Function, Request, Response, log};

struct State {
    answered: u32,
    idle: u32,
}

fn main() {
    let idle = Duration::from_millis(50);
    Function::new(start)
        .on_idle(idle, |state| state.idle += 1)
        .on_stop(stop)
        .serve(handle);
}

fn start() -> Result<State, String> {
    match hearth_sdk::env("START") {
        Some("fail") => Err("the moon is out of reach".to_owned()),
        _ => Ok(State {
            answered: 0,
            idle: 0,
        }),
    }
}

fn stop(state: &mut State, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let answered = state.answered;
    log::info(format_args!(
        "stopping after {answered} answers with {} s left",
        left.as_secs_f32().ceil()
    ));
}

fn handle(state: &mut State, request: Request) -> Response {
    state.answered += 1;
    log::field("path", request.path.as_str());
    log::warn("asked");
    log::field("query", request.query.as_str());
    log::debug("answered");
    Response::text(state.idle.to_string())
}
