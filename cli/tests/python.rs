//! A worker that was written from docs/protocol.md alone: the Python example, behind a real gateway.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::http::request;
use crate::platform::{HTTP_ONLY, Place, Platform};

// The test harness of `processes`, of which these tests use a part.
#[allow(dead_code, reason = "the rest is for `processes`")]
#[path = "processes/http.rs"]
mod http;
#[allow(dead_code, reason = "the rest is for `processes`")]
#[allow(
    clippy::print_stdout,
    reason = "what `hearth up` printed, where a test fails"
)]
#[path = "processes/platform.rs"]
mod platform;
#[allow(dead_code, reason = "the rest is for `processes`")]
#[path = "processes/process.rs"]
mod process;
#[allow(dead_code, reason = "the rest is for `processes`")]
#[path = "processes/wait.rs"]
mod wait;

const MIB: usize = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Starts a platform with the functions of the example's manifest and the example's worker.
fn start() -> Platform {
    let example = root().join("examples/python");
    let manifest = fs::read_to_string(example.join("edge.yaml")).unwrap();
    let (_, functions) = manifest.split_once("functions:").unwrap();
    let place = Place::new(&format!("{HTTP_ONLY}\nfunctions:{functions}"));
    symlink(example.join("worker.py"), place.path().join("worker.py")).unwrap();
    Platform::start_in(place)
}

/// Bytes in which each block of 64 KiB differs from the others.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

#[test]
fn it_greets_with_what_it_was_asked() {
    let platform = start();
    let answer = platform.ask("GET /py?a=b", &["User-Agent: a test"], b"");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let expect = json!({
        "from": "py, worker 1", "method": "GET", "path": "/py", "params": {}, "user_agent": "a test",
    });
    assert_eq!(answer.json(), expect);
    assert_eq!(platform.ask("HEAD /py", &[], b"").status(), 200);
    assert_eq!(platform.ask("POST /py", &[], b"").status(), 405);

    let answer = platform.get("/py/caf%C3%A9/two").json();
    assert_eq!(answer["path"], "/py/caf%C3%A9/two");
    assert_eq!(answer["params"], json!({ "rest": "café/two" }));
    assert_eq!(answer["user_agent"], json!(null));
}

#[test]
fn bodies_longer_than_the_credit_go_both_ways() {
    let platform = start();
    let mut client = platform.connect();
    for length in [0, 1, 64 * 1024 + 1, 128 * 1024 + 1, MIB, 5 * MIB] {
        let body = pattern(length);
        let answer = client.ask("POST /py/echo", &[], &body);
        assert_eq!(answer.status(), 200);
        assert!(answer.body == body, "{length} bytes echoed");
        let answer = client.ask(&format!("GET /py/stream?bytes={length}"), &[], b"");
        assert!(answer.body == vec![b'x'; length], "{length} bytes streamed");
    }
}

#[test]
fn many_clients_at_once_each_get_their_own() {
    let platform = start();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let mut connection = platform.connect();
            scope.spawn(move || {
                for number in 0..20 {
                    let answer = connection.ask(&format!("GET /py/{client}/{number}"), &[], b"");
                    let rest = format!("{client}/{number}");
                    assert_eq!(answer.json()["params"]["rest"], rest);
                    let body = pattern(50_000 * client + number);
                    assert!(connection.ask("POST /py/echo", &[], &body).body == body);
                }
            });
        }
    });
    assert_eq!(platform.function("py")["restarts"], 0);
}

#[test]
fn a_handler_that_fails_is_500_and_a_record_of_its_request() {
    let platform = start();
    let answer = platform.get("/py/fail");
    assert_eq!((answer.status(), answer.text()), (500, "internal error\n"));
    let id = answer.header("x-request-id").unwrap();
    let record = platform.wait_for_record("the failure is logged", |record| {
        record["level"] == "error" && record["request"] == id
    });
    assert_eq!(record["function"], "py");
    let message = record["message"].as_str().unwrap();
    assert_eq!(message, "RuntimeError('this route always fails')");
    let traceback = record["fields"]["traceback"].as_str().unwrap();
    assert!(traceback.contains("in handle\n"), "{traceback}");
    assert_eq!(platform.get("/py").status(), 200);
}

#[test]
fn a_client_that_goes_away_frees_it() {
    let platform = start();
    let worker = platform.worker("py");
    let mut client = platform.connect();
    client.send(request("GET /py/stream?bytes=1000000000000", &[], b""));
    assert_eq!(client.head().status, 200);
    client.chunk().unwrap().unwrap();
    client.hang_up();
    let mut client = platform.connect();
    let head = ["Content-Length: 1000000"];
    client.send(request("POST /py/echo", &head, &pattern(300_000)));
    assert_eq!(client.head().status, 200);
    client.hang_up();
    assert_eq!(platform.get("/py").status(), 200);
    assert_eq!(platform.worker("py"), worker);
}

#[test]
fn told_to_stop_it_finishes_its_answer_and_ends() {
    let mut platform = start();
    let worker = platform.worker("py");
    // More than the sockets between worker and client can buffer.
    let length = 64 * MIB;
    let mut client = platform.connect();
    let line = format!("GET /py/stream?bytes={length}");
    client.send(request(&line, &[], b""));
    let head = client.head();
    platform.signal(Signal::SIGTERM);
    platform_is_stopping(&platform);
    assert_eq!(client.body(&head).unwrap().len(), length);
    assert_eq!(platform.wait_end().code(), Some(0));
    assert!(!process::runs(worker));
    for record in platform.printed() {
        let level = record["level"].as_str();
        assert!(!matches!(level, Some("warn" | "error")), "{record}");
    }
}

/// Waits until the platform logs that it is stopping.
fn platform_is_stopping(platform: &Platform) {
    wait::until("it stops", || {
        let printed = platform.printed();
        let mut messages = printed.iter().map(|record| record["message"].as_str());
        messages
            .any(|message| message == Some("told to stop; stopping"))
            .then_some(())
    });
}

#[test]
fn its_frame_reader_reads_the_good_vectors_and_refuses_the_bad_ones() {
    let output = Command::new("python3")
        .args(["-B", "examples/python/vectors.py", "protocol/vectors"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let count = |file: &str| {
        let vectors = fs::read_to_string(root().join("protocol/vectors").join(file)).unwrap();
        vectors
            .lines()
            .filter(|line| !line.starts_with(' ') && !line.is_empty())
            .count()
    };
    let expect = format!("{} read, {} refused\n", count("good.txt"), count("bad.txt"));
    assert_eq!(said, expect);
}
