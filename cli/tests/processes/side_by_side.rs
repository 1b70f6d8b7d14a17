//! Functions whose handlers run concurrently in one worker.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::curl::curl;
use crate::http::request;
use crate::load::Load;
use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::wait;

fn manifest(more: &str) -> String {
    format!(
        "{HTTP_ONLY}\nfunctions:\n  side:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: side\n    {more}\n"
    )
}

fn start(more: &str) -> Platform {
    Platform::start_in(Place::new(&manifest(more)))
}

/// The number of running handlers that the function reports, without the one that reports.
fn running(platform: &Platform) -> u32 {
    let state = platform.get("/state");
    let count = state.text().split(' ').nth(1).unwrap();
    count.parse::<u32>().unwrap() - 1
}

/// The time that eight requests take at once if each sleeps for 300 ms.
fn eight_at_once(platform: &Platform) -> Duration {
    let begin = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| platform.connect()).collect();
    for client in &mut clients {
        client.send(request("GET /sleep?300", &[], b""));
    }
    for client in &mut clients {
        assert_eq!(client.answer("GET").status(), 200);
    }
    begin.elapsed()
}

#[test]
fn as_many_run_at_once_as_the_manifest_says() {
    let eight = start("concurrency: 8");
    assert!(eight_at_once(&eight) < Duration::from_millis(900));
    let two = start("concurrency: 2");
    assert!(eight_at_once(&two) >= Duration::from_millis(1200));
    assert!(two.get("/state").text().starts_with("running 1 most 2 "));
}

#[test]
fn a_handler_whose_client_goes_is_dropped_where_it_waits() {
    let platform = start("concurrency: 4");
    let mut client = platform.connect();
    client.send(request("GET /sleep?60000", &[], b""));
    wait::until("it runs", || (running(&platform) == 1).then_some(()));
    client.hang_up();
    wait::until("it is dropped", || (running(&platform) == 0).then_some(()));
}

#[test]
fn a_handler_that_takes_too_long_is_504_is_dropped_and_costs_no_worker() {
    let platform = start("concurrency: 4\n    timeout: 300ms");
    let worker = platform.worker("side");
    platform.get("/sleep?60000").problem(504, "timeout");
    wait::until("it is dropped", || (running(&platform) == 0).then_some(()));
    let left: u64 = platform.get("/left").text().parse().unwrap();
    assert!((1..=300).contains(&left), "{left}");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(platform.worker("side"), worker);
}

#[test]
fn a_panic_is_a_500_under_its_request_and_the_others_go_on() {
    let platform = start("concurrency: 4");
    let worker = platform.worker("side");
    let mut other = platform.connect();
    other.send(request("GET /sleep?300", &[], b""));
    for path in ["/panic", "/panic-later"] {
        let answer = platform.get(path);
        answer.problem(500, "worker");
        let id = answer.header("x-request-id").unwrap();
        let record = platform.wait_for_record("the panic is told", |record| {
            record["level"] == "error" && record["request"] == id
        });
        let said = record["message"].as_str().unwrap();
        assert!(said.contains("asked to panic"), "{said}");
        let late = record["fields"]["late"] == true;
        assert_eq!(late, path == "/panic-later", "{record}");
    }
    let traced = platform.wait_for_record("the event is told", |record| {
        record["message"] == "about to sleep"
    });
    assert_eq!(traced["level"], "warn");
    assert_eq!(traced["function"], "side");
    assert!(traced["request"].is_string(), "{traced}");
    let fields = serde_json::json!({ "late": true, "millis": 20, "number": 7, "target": "side" });
    assert_eq!(traced["fields"], fields);
    let silent = |record: &serde_json::Value| record["message"] == "not let through";
    assert!(!platform.logs().iter().any(silent));
    let mut client = platform.connect();
    client.send(request("GET /panic-stream", &[], b""));
    let head = client.head();
    assert_eq!(client.chunk().unwrap().unwrap(), b"before");
    assert_eq!(head.status, 200);
    assert!(client.chunk().is_err(), "the answer breaks off");
    assert_eq!(other.answer("GET").status(), 200);
    assert_eq!(platform.worker("side"), worker);
}

#[test]
fn bodies_go_both_ways_whole_and_in_pieces() {
    let platform = start("concurrency: 4");
    let body: Vec<u8> = (0..3_000_000u32).map(|place| (place % 251) as u8).collect();
    for path in ["/collect", "/pipe"] {
        let answer = platform.ask(&format!("POST {path}"), &[], &body);
        assert_eq!(answer.status(), 200);
        assert!(answer.body == body, "{path} changed the body");
        let small = platform.ask(&format!("POST {path}"), &[], b"small");
        assert_eq!(small.body, b"small");
        let none = platform.ask(&format!("POST {path}"), &[], b"");
        assert_eq!(none.body, b"");
    }
    let streamed = platform.get("/stream?5000000");
    assert!(streamed.body == vec![b's'; 5_000_000]);
    // A handler can read a short body at once, because all of it has arrived. For a longer one, it would have to
    // block, which an async handler must not do.
    assert_eq!(platform.ask("POST /block", &[], b"small").body, b"small");
    let refused = platform.ask("POST /block", &[], &body);
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("collect"), "{}", refused.text());
}

#[test]
fn a_slow_reader_holds_up_its_own_stream_alone() {
    let platform = start("concurrency: 4");
    let mut slow = platform.connect();
    slow.send(request("GET /stream?50000000", &[], b""));
    let head = slow.head();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running(&platform), 0, "only its body is under way");
    let begin = Instant::now();
    assert_eq!(platform.get("/sleep?1").status(), 200);
    assert!(begin.elapsed() < Duration::from_millis(500));
    assert_eq!(slow.body(&head).unwrap().len(), 50_000_000);
}

#[test]
fn events_come_as_they_happen() {
    let platform = start("concurrency: 4");
    let url = format!("http://{}/events?3", platform.http());
    let out = curl(&["--include", &url]).out;
    assert!(out.contains("content-type: text/event-stream"), "{out}");
    let body = out.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(
        body,
        "id: 0\ndata: 0\n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"
    );
}

#[test]
fn reloads_under_load_lose_no_request() {
    let platform = start("concurrency: 8");
    let load = Load::start(platform.http(), &["GET /state", "GET /sleep?3"]);
    for number in 0..5 {
        let before = load.answered();
        wait::until("requests go on", || {
            (load.answered() > before + 50).then_some(())
        });
        let changed = format!("concurrency: 8\n    env: {{ NUMBER: \"{number}\" }}");
        platform.place.write(&manifest(&changed));
        let reloaded = platform.place.hearth("reload", &[]);
        assert!(reloaded.status.success(), "{reloaded:?}");
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_start_may_fail_tasks_run_beside_handlers_and_the_end_is_told() {
    let mut platform = start("concurrency: 4");
    wait::until("its own task has run", || {
        let state = platform.get("/state");
        let ticks = state.text().split(' ').nth(5).unwrap().to_owned();
        (ticks.parse::<u32>().unwrap() > 2).then_some(())
    });
    platform.place.write(&manifest("env: { START: fail }"));
    let refused = platform.place.hearth("reload", &[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the moon is out of reach"), "{said}");
    platform.signal(Signal::SIGTERM);
    assert!(platform.wait_end().success());
    let printed = platform.printed();
    let told = |record: &serde_json::Value| record["message"] == "at most 1 at once";
    assert!(printed.iter().any(told), "{printed:?}");
}
