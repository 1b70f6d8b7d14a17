//! A function for the tests whose handlers run concurrently.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hearth_sdk::{AsyncFunction, Event, Problem, Request, Response, log};
use tokio::time::sleep;

#[derive(Default)]
struct State {
    /// Number of handlers that run now; `most` is the maximum so far.
    running: Cell<u32>,
    most: Cell<u32>,
    ticks: Cell<u32>,
}

fn main() {
    AsyncFunction::new(start)
        .on_stop(|state, _deadline| async move {
            log::info(format_args!("at most {} at once", state.most.get()));
        })
        .serve(handle);
}

async fn start() -> Result<Rc<State>, String> {
    sleep(Duration::from_millis(1)).await;
    if hearth_sdk::env("START") == Some("fail") {
        return Err("the moon is out of reach".to_owned());
    }
    let state = Rc::new(State::default());
    let own = Rc::clone(&state);
    tokio::task::spawn_local(async move {
        loop {
            sleep(Duration::from_millis(10)).await;
            own.ticks.set(own.ticks.get() + 1);
        }
    });
    Ok(state)
}

/// Counts a handler until it is dropped.
struct Running(Rc<State>);

impl Running {
    fn begin(state: &Rc<State>) -> Running {
        let running = state.running.get() + 1;
        state.running.set(running);
        state.most.set(state.most.get().max(running));
        Running(Rc::clone(state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

#[tracing::instrument]
async fn traced(millis: u64) {
    tracing::debug!("not let through");
    tracing::warn!(number = 7, "about to sleep");
    sleep(Duration::from_millis(millis)).await;
}

async fn handle(state: Rc<State>, request: Request) -> Result<Response, Problem> {
    let _running = Running::begin(&state);
    let number = || request.query.as_str().parse().unwrap_or(0u64);
    let broken = |error: std::io::Error| Problem::new(400, error.to_string());
    Ok(match request.path.as_str() {
        "/sleep" => {
            sleep(Duration::from_millis(number())).await;
            Response::text(hearth_sdk::worker().to_string())
        }
        "/state" => Response::text(format!(
            "running {} most {} ticks {}",
            state.running.get(),
            state.most.get(),
            state.ticks.get()
        )),
        "/left" => {
            let left = request.deadline().saturating_duration_since(Instant::now());
            Response::text(left.as_millis().to_string())
        }
        "/collect" => Response::ok().body(request.body.collect().await.map_err(broken)?),
        "/pipe" => Response::stream_async(async move |out| {
            while let Some(piece) = request.body.piece().await? {
                out.write(piece).await?;
            }
            Ok(())
        }),
        "/block" => Response::ok().body(request.body.bytes().map_err(broken)?),
        "/stream" => {
            let bytes = number();
            Response::stream_async(async move |out| {
                for _ in 0..bytes / 1000 {
                    out.write([b's'; 1000]).await?;
                }
                Ok(())
            })
        }
        "/events" => {
            let count = number();
            Response::events_async(async move |events| {
                for number in 0..count {
                    let event = Event::data(number.to_string()).with_id(number.to_string());
                    events.send(&event).await?;
                    sleep(Duration::from_millis(10)).await;
                }
                Ok(())
            })
        }
        "/panic" => panic!("asked to panic"),
        "/panic-later" => {
            log::field("late", true);
            traced(20).await;
            panic!("asked to panic later")
        }
        "/panic-stream" => Response::stream_async(async |out| {
            out.write("before").await?;
            out.flush().await?;
            sleep(Duration::from_millis(20)).await;
            panic!("asked to panic in a stream")
        }),
        _ => Response::not_found(),
    })
}
