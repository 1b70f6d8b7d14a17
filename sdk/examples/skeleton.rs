//! The smallest function: it drives the request loop itself and catches no panics.

use hearth_sdk::{Request, Response, ipc};

struct AppState {
    answered: u64,
}

impl AppState {
    fn new() -> Self {
        AppState { answered: 0 }
    }
}

fn handle_request(state: &mut AppState, req: Request) -> Response {
    state.answered += 1;
    Response::text(format!(
        "{} {} number {}",
        req.method, req.path, state.answered
    ))
}

fn main() {
    let mut state = AppState::new();
    loop {
        let req = ipc::read_request();
        let res = handle_request(&mut state, req);
        ipc::send_response(res);
    }
}
