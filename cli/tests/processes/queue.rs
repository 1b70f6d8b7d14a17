//! The queue for workers: which request gets a worker when, and which requests are refused.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::http::{Client, request};
use crate::platform::{PROBE, Place, Platform, pid};
use crate::process;
use crate::wait;

/// A platform with this queue limit. It has one gateway thread, so that requests are read in the order in which they
/// are sent.
fn with_queue(queue: u32, functions: &str) -> Platform {
    let gateway = format!(
        r#"gateway: {{ listen: {{ http: "127.0.0.1:0" }}, limits: {{ queue: {queue} }}, threads: 1 }}"#
    );
    Platform::start_in(Place::new(&format!("{gateway}\n{functions}")))
}

/// A client whose request keeps a worker busy for about `tenths` tenths of a second from now on.
fn occupy(platform: &Platform, tenths: u32) -> Client {
    let mut client = platform.connect();
    client.send(request(
        &format!("GET /drip?pieces={}", tenths + 1),
        &[],
        b"",
    ));
    assert_eq!(client.head().status, 200);
    client.chunk().unwrap().unwrap();
    client
}

#[test]
fn requests_beyond_the_queue_are_503_with_retry_after_and_those_in_it_are_served() {
    let platform = with_queue(2, PROBE);
    let mut busy = occupy(&platform, 10);
    let mut waiting: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = platform.connect();
            client.send(request("GET /small", &[], b""));
            client
        })
        .collect();
    let refused = platform.get("/small");
    let problem = refused.problem(503, "queue");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("2 requests wait"),
        "{problem}"
    );
    for client in &mut waiting {
        assert_eq!(client.answer("GET").text(), "small");
    }
    while busy.chunk().unwrap().is_some() {}
}

#[test]
fn waiting_requests_are_served_in_the_order_they_came() {
    let platform = with_queue(100, PROBE);
    let mut clients: Vec<Client> = (0..8).map(|_| platform.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("GET /small", &[], b"").status(), 200);
    }
    let _busy = occupy(&platform, 4);
    for client in &mut clients {
        client.send(request("GET /worker", &[], b""));
    }
    let counts: Vec<u64> = clients
        .iter_mut()
        .map(|client| client.answer("GET").json()["count"].as_u64().unwrap())
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
}

#[test]
fn a_request_that_waits_longer_than_the_timeout_is_503_of_the_queue() {
    let functions = format!("{PROBE}    timeout: 300ms\n");
    let platform = with_queue(10, &functions);
    let _busy = occupy(&platform, 20);
    let begin = Instant::now();
    let problem = platform.get("/small").problem(503, "queue");
    assert!(begin.elapsed().as_millis() >= 300, "{problem}");
}

#[test]
fn a_client_that_goes_away_gives_its_place_in_the_queue_back() {
    let platform = with_queue(1, PROBE);
    let _busy = occupy(&platform, 15);
    let mut gone = platform.connect();
    gone.send(request("GET /small", &[], b""));
    platform.get("/small").problem(503, "queue");
    gone.hang_up();
    let served = wait::until("the place is free", || {
        let answer = platform.get("/small");
        (answer.status() == 200).then_some(answer)
    });
    assert_eq!(served.text(), "small");
}

/// Requests `/sleep` from this many clients at once.
fn sleep_at_once(platform: &Platform, clients: usize, ms: u32) -> Vec<Value> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| platform.get(&format!("/sleep?ms={ms}")).json()))
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Begin and end of the requests of each worker, in order.
fn by_worker(answers: &[Value]) -> BTreeMap<u64, Vec<(u64, u64)>> {
    let mut workers: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for answer in answers {
        let number = |name: &str| answer[name].as_u64().unwrap();
        let times = (number("begin"), number("end"));
        workers.entry(number("worker")).or_default().push(times);
    }
    for times in workers.values_mut() {
        times.sort_unstable();
    }
    workers
}

fn assert_one_at_a_time(times: &[(u64, u64)]) {
    let apart = times.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    assert!(apart, "{times:?}");
}

#[test]
fn a_worker_with_concurrency_1_has_one_request_at_a_time() {
    let platform = with_queue(100, PROBE);
    let workers = by_worker(&sleep_at_once(&platform, 8, 50));
    assert_eq!(workers.len(), 1);
    workers
        .values()
        .for_each(|times| assert_one_at_a_time(times));
}

#[test]
fn two_workers_share_the_requests_of_a_slow_function() {
    let platform = with_queue(100, &format!("{PROBE}    scale: {{ min: 2 }}\n"));
    let workers = by_worker(&sleep_at_once(&platform, 12, 50));
    assert_eq!(workers.len(), 2);
    for times in workers.values() {
        assert_one_at_a_time(times);
        // The worker that is free gets the next request, so neither gets much more than half.
        assert!((4..=8).contains(&times.len()), "{workers:?}");
    }
}

#[test]
fn a_slow_request_at_one_worker_holds_up_no_request_while_another_worker_is_free() {
    let platform = with_queue(100, &format!("{PROBE}    scale: {{ min: 2 }}\n"));
    let ask = |count: usize| {
        let mut client = platform.connect();
        for _ in 0..count {
            assert_eq!(client.ask("GET /small", &[], b"").status(), 200);
        }
    };
    let four_ask = || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ask(50));
            }
        });
    };
    // Both workers show that they are fast, so they may get requests in advance.
    four_ask();
    let mut busy = platform.connect();
    busy.send(request("GET /sleep?ms=6000", &[], b""));
    let workers = platform.function("probe")["workers"].clone();
    let pids = workers.as_array().unwrap().iter().map(pid);
    let pids: Vec<u32> = pids.collect();
    wait::until("one of them is busy", || {
        pids.iter().any(|pid| process::sleeps(*pid)).then_some(())
    });
    // The query of the status takes longer than any fast request: after it, the worker counts as slow.
    platform.status();
    let begin = Instant::now();
    four_ask();
    let took = begin.elapsed();
    assert!(
        took.as_secs() < 4,
        "{took:?}: somebody waited for the slow one"
    );
}

#[test]
fn a_finished_answer_does_not_wait_for_the_slow_request_behind_it() {
    let platform = with_queue(100, PROBE);
    let mut client = platform.connect();
    // The worker shows that it is fast, so it may get requests in advance.
    for _ in 0..200 {
        assert_eq!(client.ask("GET /small", &[], b"").status(), 200);
    }
    let mut first = platform.connect();
    let mut quick = platform.connect();
    let mut slow = platform.connect();
    first.send(request("GET /sleep?ms=200", &[], b""));
    quick.send(request("GET /small", &[], b""));
    slow.send(request("GET /sleep?ms=4000", &[], b""));
    first.answer("GET");
    let begin = Instant::now();
    assert_eq!(quick.answer("GET").text(), "small");
    assert!(begin.elapsed().as_millis() < 2000, "{:?}", begin.elapsed());
}
