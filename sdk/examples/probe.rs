//! A function for the process tests. It reports what has reached it, and misbehaves on request. For an unknown path, it
//! responds with the request's head.

use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_sdk::{Problem, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Lives as long as the worker. With it, tests prove that state is kept.
struct State {
    requests: u64,
    /// Number of health probes so far.
    examined: u64,
    sick: bool,
}

#[derive(Deserialize, Serialize)]
struct Order {
    customer: String,
    lines: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    item: u32,
    count: u32,
}

fn main() {
    hearth_sdk::serve(make_state, handle)
}

fn make_state() -> State {
    if let Some(reason) = hearth_sdk::env("FAIL_START") {
        panic!("{reason}");
    }
    State {
        requests: 0,
        examined: 0,
        sick: hearth_sdk::env("HEALTH").is_some_and(|health| health == "sick"),
    }
}

fn handle(state: &mut State, req: Request) -> Result<Response, Problem> {
    state.requests += 1;
    let path = req.path.clone();
    Ok(match path.as_str() {
        "/echo" => Response::ok().body(body(&req)?),
        "/count" => Response::text(count(&req)?.to_string()),
        "/pipe" => pipe(req),
        "/json" => answer_order(&req.json::<Order>()?),
        "/worker" => {
            Response::json(&json!({ "worker": hearth_sdk::worker(), "count": state.requests }))
        }
        "/healthz" => Response::new(health(state)),
        "/sicken" => {
            state.sick = true;
            Response::no_content()
        }
        "/env" => Response::json(&configuration(&req)),
        "/sleep" => sleep(&req),
        "/stream" => stream(number(&req, "bytes")),
        "/drip" => drip(number(&req, "pieces")),
        "/big" => Response::ok().body(vec![b'b'; 1 << 20]),
        "/small" => Response::text("small"),
        "/hop" => Response::text("hop")
            .header("connection", "x-listed")
            .header("keep-alive", "timeout=5")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h9")
            .header("x-kept", "kept"),
        "/bad-header" => Response::ok().header("x-split", "a\r\nset-cookie: stolen=1"),
        "/bad-status" => Response::new(99),
        "/long-header" => Response::ok().header("x-long", "h".repeat(300 * 1024)),
        "/say" => say(&req),
        "/panic" => panic!("asked to panic"),
        "/panic-stream" => Response::stream(|out| {
            out.write_all(b"so far so good")?;
            out.flush()?;
            // Gives the flushed bytes time to reach the client.
            std::thread::sleep(Duration::from_millis(100));
            panic!("asked to panic in a stream")
        }),
        "/fail-stream" => Response::stream(|out| {
            out.write_all(b"so far so good")?;
            Err(io::Error::other("asked to fail"))
        }),
        "/exit" => std::process::exit(7),
        "/break-protocol" => break_protocol(),
        _ => Response::json(&head(&req)),
    })
}

fn head(req: &Request) -> Value {
    let pairs = |pairs: Vec<(&str, &str)>| json!(pairs);
    json!({
        "function": hearth_sdk::function(),
        "id": req.id.as_str(),
        "method": req.method.as_str(),
        "path": req.path.as_str(),
        "query": req.query.as_str(),
        "route": req.route.as_str(),
        "params": pairs(req.params.iter().collect()),
        "headers": pairs(req.headers.iter().collect()),
        "scheme": req.scheme.as_str(),
        "host": req.host.as_str(),
        "client": req.client.as_str(),
        "deadline_ms": millis(req.deadline().saturating_duration_since(std::time::Instant::now())),
    })
}

/// The status for a health probe: 503 if the worker has been made sick or this is one of the first `WARM_UP` probes,
/// and otherwise 200.
fn health(state: &mut State) -> u16 {
    state.examined += 1;
    let warm_up = hearth_sdk::env("WARM_UP").and_then(|count| count.parse().ok());
    match state.sick || state.examined <= warm_up.unwrap_or(0) {
        true => 503,
        false => 200,
    }
}

/// The values of the manifest, and the environment and arguments of the process.
fn configuration(req: &Request) -> Value {
    let name = req.query.as_str();
    json!({
        "env": hearth_sdk::env(name),
        "resource": hearth_sdk::resource(name),
        "secret": hearth_sdk::secret(name),
        "process_environment": std::env::vars().collect::<Vec<_>>(),
        "arguments": std::env::args().collect::<Vec<_>>(),
        "worker": hearth_sdk::worker(),
    })
}

fn body(req: &Request) -> Result<Vec<u8>, Problem> {
    let bytes = req.body.bytes().map_err(did_not_arrive)?;
    Ok(bytes.to_vec())
}

fn count(req: &Request) -> Result<u64, Problem> {
    io::copy(&mut req.body.reader(), &mut io::sink()).map_err(did_not_arrive)
}

fn did_not_arrive(error: io::Error) -> Problem {
    Problem::new(400, "The body did not arrive").detail(error.to_string())
}

fn answer_order(order: &Order) -> Response {
    let pieces: u32 = order.lines.iter().map(|line| line.count).sum();
    Response::json(&json!({ "order": order, "pieces": pieces }))
}

/// Sends the body back as it arrives.
fn pipe(req: Request) -> Response {
    Response::stream(move |out| {
        let (mut reader, mut piece) = (req.body.reader(), [0; 16 * 1024]);
        loop {
            match reader.read(&mut piece)? {
                0 => return Ok(()),
                count => out.write_all(&piece[..count])?,
            }
            out.flush()?;
        }
    })
}

/// Reports when it began and ended, so that tests can see which requests ran at the same time.
fn sleep(req: &Request) -> Response {
    let begin = since_1970();
    std::thread::sleep(Duration::from_millis(number(req, "ms")));
    Response::json(&json!({
        "worker": hearth_sdk::worker(),
        "begin": begin,
        "end": since_1970(),
    }))
}

fn stream(bytes: u64) -> Response {
    Response::stream(move |out| {
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(10_000);
            out.write_all(&vec![b's'; piece as usize])?;
            left -= piece;
        }
        Ok(())
    })
}

fn drip(pieces: u64) -> Response {
    Response::stream(move |out| {
        for number in 0..pieces {
            if number > 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
            out.write_all(format!("piece {number}\n").as_bytes())?;
            out.flush()?;
        }
        Ok(())
    })
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what this route is for"
)]
fn say(req: &Request) -> Response {
    println!("to stdout: {}", req.query);
    eprintln!("to stderr: {}", req.query);
    Response::no_content()
}

/// Writes bytes that are not a frame to every data socket of this worker.
fn break_protocol() -> Response {
    for descriptor in 4..64 {
        if let Ok(socket) = hearth_sys::inherit::take_unix_stream(descriptor) {
            let _ = (&socket).write_all(&[0xff; 64]);
            // The SDK owns the socket, so this function must not close it.
            std::mem::forget(socket);
        }
    }
    Response::ok()
}

fn number(req: &Request, name: &str) -> u64 {
    let values = req.query.split('&').filter_map(|pair| pair.split_once('='));
    let value = values.into_iter().find(|(key, _)| *key == name);
    value.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn since_1970() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
