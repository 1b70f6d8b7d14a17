//! Tests built workers over the real protocol, without a platform.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, which Clippy sees only in the functions marked as such"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hearth_sdk::Request;
use hearth_sdk::test::{Broken, Platform, Worker};

/// The path of one of the SDK's examples, which are built together with this test.
fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a test is a program");
    let built = this.ancestors().nth(2).expect("it lies in `deps`");
    built.join("examples").join(name)
}

fn probe() -> Worker {
    let platform = Platform::new().with_env("NAME", "value");
    Worker::start(example("probe"), platform).unwrap()
}

#[test]
fn a_worker_answers_with_its_state_its_configuration_and_its_log() {
    let mut worker = probe().with_route("/say/{what}");
    assert_eq!(worker.get("/small").unwrap().text(), "small");
    let first: serde_json::Value = worker.get("/worker").unwrap().json();
    let second: serde_json::Value = worker.get("/worker").unwrap().json();
    assert_eq!(first["worker"], second["worker"]);
    assert!(first["count"].as_u64() < second["count"].as_u64());
    let panicked = worker.get("/panic").unwrap();
    assert_eq!(panicked.status(), 500);
    let told = worker.log().unwrap();
    assert!(
        told.iter().any(|line| line.contains("asked to panic")),
        "{told:?}"
    );
    let head: serde_json::Value = worker.get("/say/hello").unwrap().json();
    assert_eq!(head["params"][0][1], "hello", "{head}");
    let status = worker.stop().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn bodies_of_any_size_go_both_ways() {
    let mut worker = probe();
    for size in [0, 1, 64 * 1024, 64 * 1024 + 1, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let answer = worker.post("/pipe", body.clone()).unwrap();
        assert!(
            answer.bytes() == body,
            "{size} bytes came back as {}",
            answer.bytes().len()
        );
    }
    assert_eq!(
        worker.get("/stream?bytes=3000000").unwrap().bytes().len(),
        3_000_000
    );
    // The response comes before the body has been read. The next request must still succeed.
    let answer = worker.post("/small", vec![0; 5_000_000]).unwrap();
    assert_eq!(answer.text(), "small");
    assert_eq!(worker.get("/small").unwrap().text(), "small");
}

#[test]
fn a_worker_that_breaks_is_an_error_that_says_how() {
    assert!(matches!(probe().get("/exit"), Err(Broken::Ended)));
    assert!(matches!(
        probe().get("/break-protocol"),
        Err(Broken::Protocol(_))
    ));
    assert!(matches!(
        probe().get("/fail-stream"),
        Err(Broken::Refused(_))
    ));
    let missing = Worker::start(example("no-such-example"), Platform::new());
    assert!(matches!(missing, Err(Broken::Io(_))));
    let stranger = Worker::start("/bin/true", Platform::new());
    assert!(matches!(stranger, Err(Broken::Ended)));
    // The default deadline of a request is in ten seconds.
    let begin = Instant::now();
    let request = Request::new("GET", "/sleep?ms=5000", "");
    let request = request.with_deadline(Instant::now() + Duration::from_millis(200));
    assert!(matches!(probe().send(request), Err(Broken::Silent)));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}
