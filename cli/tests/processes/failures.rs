//! Functions that take too long, panic, send invalid responses or die: what the client gets, and that the platform
//! continues to serve.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::http::request;
use crate::platform::{PROBE, Platform};
use crate::process;
use crate::wait;

/// The probe twice: a failure of one must not affect the other.
const TWO: &str = r#"
functions:
  probe: { routes: [{ path: "/{path+}" }], binary: probe }
  bystander: { domains: [bystander.example], routes: [{ path: /worker }], binary: probe }
"#;

fn bystander(platform: &Platform) -> (u64, u64) {
    let seen = platform
        .ask("GET /worker", &["Host: bystander.example"], b"")
        .json();
    (
        seen["worker"].as_u64().unwrap(),
        seen["count"].as_u64().unwrap(),
    )
}

fn assert_untouched(platform: &Platform, before: (u64, u64)) {
    assert_eq!(bystander(platform), (before.0, before.1 + 1));
}

#[test]
fn a_function_that_takes_too_long_is_504_and_its_worker_serves_again_afterwards() {
    let platform = Platform::start(&format!("{PROBE}    timeout: 300ms\n"));
    let before = platform.get("/worker").json()["worker"].clone();
    let begin = Instant::now();
    let problem = platform.get("/sleep?ms=2000").problem(504, "timeout");
    let took = begin.elapsed();
    assert!((300..1800).contains(&took.as_millis()), "{took:?}");
    assert!(
        problem["detail"].as_str().unwrap().contains("300ms"),
        "{problem}"
    );
    // The handler still runs, so the next request waits, but only until its timeout.
    platform.get("/worker").problem(503, "queue");
    let after = wait::until("the worker serves again", || {
        let answer = platform.get("/worker");
        (answer.status() == 200).then(|| answer.json())
    });
    assert_eq!(after["worker"], before);
}

#[test]
fn a_panic_is_500_its_reason_is_logged_under_the_requests_id_and_the_state_lives_on() {
    let platform = Platform::start(PROBE);
    let before = platform.get("/worker").json();
    let answer = platform.get("/panic");
    let problem = answer.problem(500, "worker");
    assert!(!answer.text().contains("asked to panic"), "{problem}");
    assert!(!answer.text().contains("probe.rs"), "{problem}");
    let record = platform.wait_for_record("the panic is logged", |record| {
        record["request"] == problem["request"] && record["source"] == "worker"
    });
    let message = record["message"].as_str().unwrap();
    assert!(
        message.contains("asked to panic") && message.contains("probe.rs:"),
        "{message}"
    );
    assert_eq!(
        (&record["level"], &record["function"]),
        (&"error".into(), &"probe".into())
    );
    let after = platform.get("/worker").json();
    assert_eq!(after["worker"], before["worker"]);
    assert_eq!(
        after["count"].as_u64(),
        before["count"].as_u64().map(|count| count + 2)
    );
}

#[test]
fn a_panic_in_the_middle_of_a_stream_is_logged_under_the_requests_id() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request("GET /panic-stream", &[], b""));
    let head = client.head();
    assert!(client.body(&head).is_err());
    let id = head.header("x-request-id").unwrap();
    platform.wait_for_record("the panic is logged", |record| {
        let message = record["message"].as_str().unwrap();
        record["request"] == id && message.contains("asked to panic in a stream")
    });
}

#[test]
fn answers_that_are_no_http_are_502_and_the_worker_serves_on() {
    let platform = Platform::start(PROBE);
    let before = platform.worker_number("probe");
    for route in ["/bad-header", "/bad-status", "/long-header"] {
        let answer = platform.get(route);
        answer.problem(502, "worker");
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(
            platform.get("/worker").json()["worker"],
            before,
            "after {route}"
        );
    }
}

#[test]
fn a_worker_that_ends_in_a_post_makes_it_502_and_is_replaced() {
    let platform = Platform::start(TWO);
    let untouched = bystander(&platform);
    let before = platform.worker_number("probe");
    platform.ask("POST /exit", &[], b"").problem(502, "worker");
    let after = platform.get("/worker").json();
    assert_ne!(after["worker"], before);
    assert_eq!(after["count"], 1);
    // The request was sent only once: only one worker died of it.
    assert_eq!(platform.function("probe")["restarts"], 1);
    let error = platform.function("probe")["last_error"].clone();
    assert_eq!(error, "ended: exit status 7");
    assert_untouched(&platform, untouched);
}

#[test]
fn a_worker_that_ends_in_a_get_has_it_tried_once_more_on_the_next_worker() {
    let platform = Platform::start(TWO);
    let untouched = bystander(&platform);
    platform.get("/exit").problem(502, "worker");
    let restarts = || platform.function("probe")["restarts"].as_u64();
    wait::until("both deaths are booked", || {
        (restarts() == Some(2)).then_some(())
    });
    assert_eq!(platform.get("/worker").json()["count"], 1);
    assert_eq!(restarts(), Some(2));
    assert_untouched(&platform, untouched);
}

#[test]
fn a_get_whose_worker_is_killed_is_answered_by_the_next_one() {
    let platform = Platform::start(PROBE);
    let (before, number) = (platform.worker("probe"), platform.worker_number("probe"));
    let mut client = platform.connect();
    client.send(request("GET /sleep?ms=1000", &[], b""));
    process::wait_until_it_sleeps(before);
    process::signal(before, Signal::SIGKILL);
    let answer = client.answer("GET");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_ne!(answer.json()["worker"], number);
}

#[test]
fn a_killed_worker_is_replaced_and_requests_sent_meanwhile_wait_and_succeed() {
    let platform = Platform::start(TWO);
    let untouched = bystander(&platform);
    let (before, number) = (platform.worker("probe"), platform.worker_number("probe"));
    process::signal(before, Signal::SIGKILL);
    let workers: Vec<u64> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| platform.get("/worker")))
            .collect();
        let answers = asked.into_iter().map(|one| one.join().unwrap());
        answers
            .map(|answer| {
                assert_eq!(answer.status(), 200, "{}", answer.text());
                answer.json()["worker"].as_u64().unwrap()
            })
            .collect()
    });
    assert!(workers.iter().all(|one| *one != number), "{workers:?}");
    let function = platform.function("probe");
    assert_eq!(function["restarts"], 1);
    assert_eq!(function["last_error"], "ended: SIGKILL");
    assert_untouched(&platform, untouched);
}

#[test]
fn a_worker_that_breaks_the_protocol_costs_its_request_and_is_replaced() {
    let platform = Platform::start(&format!("{PROBE}    timeout: 5s\n"));
    let untouched = platform.gateway();
    let problem = platform
        .ask("POST /break-protocol", &[], b"")
        .problem(502, "worker");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("broke the protocol"),
        "{problem}"
    );
    let after = platform.get("/worker");
    assert_eq!(after.status(), 200, "{}", after.text());
    assert_eq!(platform.gateway(), untouched);
}

#[test]
fn a_function_that_ends_at_once_is_reported_as_a_crash_loop_while_another_serves() {
    let functions = r#"
functions:
  broken: { domains: [broken.example], routes: [{ path: /x }], binary: /bin/false, timeout: 300ms }
  good: { routes: [{ path: /small }], binary: probe }
"#;
    let place = crate::platform::Place::new(&format!(
        "gateway: {{ listen: {{ http: \"127.0.0.1:0\" }} }}\n{functions}"
    ));
    let platform = Platform::begin(place);
    let broken = wait::until("it is called a crash loop", || {
        assert_eq!(platform.get("/small").text(), "small");
        let broken = platform.function("broken");
        (broken["state"] == "crash-loop").then_some(broken)
    });
    assert_eq!(broken["last_error"], "ended: exit status 1");
    assert!(broken["restarts"].as_u64().unwrap() >= 5, "{broken}");
    platform.wait_for_record("the log says so", |record| {
        let message = record["message"].as_str().unwrap();
        record["function"] == "broken" && message.contains("crash loop")
    });
    platform
        .ask("GET /x", &["Host: broken.example"], b"")
        .problem(503, "worker");
}

#[test]
fn a_function_whose_state_cannot_be_made_is_reported_with_its_reason() {
    let functions = r#"
functions:
  broken: { routes: [{ path: /x }], binary: probe, env: { FAIL_START: "no database today" } }
"#;
    let place = crate::platform::Place::new(&format!(
        "gateway: {{ listen: {{ http: \"127.0.0.1:0\" }} }}\n{functions}"
    ));
    let platform = Platform::begin(place);
    let error = wait::until("its reason is told", || {
        let broken = platform.function("broken");
        broken["last_error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("no database today"), "{error}");
}

#[test]
fn a_worker_that_sleeps_in_its_handler_is_not_waited_for_at_the_end() {
    let platform = Platform::start(&format!("{PROBE}    timeout: 100ms\n"));
    platform.get("/sleep?ms=60000").problem(504, "timeout");
    let begin = Instant::now();
    let (status, _place) = platform.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
}
