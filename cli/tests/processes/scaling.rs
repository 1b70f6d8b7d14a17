//! Functions whose number of workers follows the load: none until a request arrives, more while requests wait, fewer
//! after a quiet time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::platform::{PROBE, Place, Platform};
use crate::{process, wait};

fn start(scale: &str) -> Platform {
    Platform::start(&format!("{PROBE}    scale: {scale}\n"))
}

/// The process ids of the workers that are ready.
fn ready(platform: &Platform) -> Vec<u32> {
    let function = platform.function("probe");
    let workers = function["workers"].as_array().unwrap().iter();
    let ready = workers.filter(|worker| worker["state"] == "ready");
    ready.map(crate::platform::pid).collect()
}

fn wanted(platform: &Platform) -> u64 {
    platform.function("probe")["scale"]["wanted"]
        .as_u64()
        .unwrap()
}

/// Sends one request from each of this many clients at the same time. Returns the JSON of the responses.
fn ask_at_once(platform: &Platform, clients: usize, line: &str) -> Vec<Value> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| platform.get(line)))
            .collect();
        let answers = asked.into_iter().map(|one| one.join().unwrap());
        answers
            .map(|answer| {
                assert_eq!(answer.status(), 200, "{}", answer.text());
                answer.json()
            })
            .collect()
    })
}

/// The log messages about changes of the number of workers.
fn steps(platform: &Platform) -> Vec<String> {
    let logs = platform.logs();
    let said = logs.iter().filter_map(|record| record["message"].as_str());
    let steps = said.filter(|message| message.starts_with("scaled from "));
    steps.map(ToOwned::to_owned).collect()
}

#[test]
fn a_function_with_a_minimum_of_0_has_no_worker_until_it_is_asked_and_none_after_a_quiet_time() {
    let platform = start("{ min: 0, idle: 300ms }");
    assert_eq!(platform.function("probe")["state"], "idle");
    let mut first = Vec::new();
    let mut warm = Vec::new();
    for round in 0..5 {
        assert!(ready(&platform).is_empty());
        let mut client = platform.connect();
        let begin = Instant::now();
        let answer = client.ask("GET /worker", &[], b"");
        first.push(begin.elapsed());
        assert_eq!(answer.status(), 200, "round {round}: {}", answer.text());
        let begin = Instant::now();
        assert_eq!(client.ask("GET /worker", &[], b"").json()["count"], 2);
        warm.push(begin.elapsed());
        let pid = platform.worker("probe");
        assert!(process::runs(pid));
        process::wait_until_gone(&[pid], Duration::from_secs(5));
        wait::until("no worker is left", || {
            (platform.function("probe")["state"] == "idle").then_some(())
        });
    }
    first.sort();
    warm.sort();
    println!(
        "first requests of a function without a worker: 5, answered: 5, median {:.1?}, \
         longest {:.1?}; the next on the same connection: median {:.2?}",
        first[2], first[4], warm[2]
    );
}

#[test]
fn requests_that_wait_bring_more_workers_and_a_quiet_time_takes_them_away_losing_none() {
    let platform = start("{ min: 1, max: 4, idle: 500ms }");
    let oldest = ready(&platform);
    let begin = Instant::now();
    let answers = ask_at_once(&platform, 16, "/sleep?ms=100");
    let took = begin.elapsed();
    let pids: BTreeSet<u64> = answers
        .iter()
        .map(|one| one["worker"].as_u64().unwrap())
        .collect();
    assert_eq!(pids.len(), 4, "all that are allowed have worked");
    assert!(
        took < Duration::from_millis(1600),
        "one worker would take that: {took:?}"
    );
    // Requests continue while workers are stopped.
    let mut client = platform.connect();
    let mut answered = 0;
    wait::until("one worker is left", || {
        for _ in 0..20 {
            assert_eq!(client.ask("GET /small", &[], b"").status(), 200);
            answered += 1;
        }
        (platform.function("probe")["workers"].as_array()?.len() == 1).then_some(())
    });
    assert!(answered > 100, "{answered}");
    assert_eq!(ready(&platform), oldest, "the oldest stays");
    println!(
        "16 requests of 100 ms at once: {} workers, {took:.0?}; let go under {answered} requests, \
         lost: 0; {:?}",
        pids.len(),
        steps(&platform)
    );
}

#[test]
fn a_burst_brings_no_crowd_but_at_most_as_many_at_a_time_as_serve_already() {
    let platform = start("{ min: 1, max: 16 }");
    ask_at_once(&platform, 64, "/worker");
    let short = steps(&platform);
    ask_at_once(&platform, 64, "/sleep?ms=50");
    let all = steps(&platform);
    for step in &all {
        let numbers = step
            .split(' ')
            .filter_map(|word| word.trim_end_matches(':').parse().ok());
        let numbers: Vec<u32> = numbers.collect();
        let [from, to, ..] = numbers[..] else {
            panic!("{step}")
        };
        assert!(to <= 2 * from, "{step}");
    }
    println!(
        "64 short requests at once: {short:?}; 64 of 50 ms: {:?}",
        &all[short.len()..]
    );
    assert!(wanted(&platform) >= 8, "{all:?}");
}

#[test]
fn a_function_that_cannot_start_says_so_at_once_keeps_its_backoff_and_recovers() {
    let manifest = |env: &str| {
        // Without an access log, whose records would push others out of the log.
        let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" } }"#;
        format!("{gateway}\n{PROBE}    scale: {{ min: 0, max: 4 }}\n    env: {env}\n")
    };
    let platform = Platform::start_in(Place::new(&manifest("{ FAIL_START: no key }")));
    let begin = Instant::now();
    let mut refused = 0;
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let problem = platform.get("/worker").problem(503, "worker");
        longest = longest.max(asked.elapsed());
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the function cannot be started: could not start"),
            "{detail}"
        );
        assert!(detail.contains("no key"), "{detail}");
        refused += 1;
    }
    let logs = platform.logs();
    let starts = logs.iter().filter(|record| {
        record["message"]
            .as_str()
            .unwrap()
            .starts_with("could not start")
    });
    let starts = starts.count();
    println!("refused in 3 s: {refused}, longest {longest:.0?}, starts: {starts}");
    // At once, then after 0.1, 0.2, 0.4, 0.8 and 1.6 s, each longer or shorter by up to a quarter.
    assert!((2..=8).contains(&starts), "{starts}");
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    platform.place.write(&manifest("{}"));
    let reloaded = platform.place.hearth("reload", &[]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn a_gateway_that_is_replaced_finds_a_function_without_a_worker_as_it_was() {
    let platform = start("{ min: 0, idle: 1s }");
    let gateway = platform.gateway();
    process::signal(gateway, nix::sys::signal::Signal::SIGKILL);
    wait::until("another gateway runs", || {
        let pid = platform.status()["gateway"]["pid"].as_u64()?;
        (pid != u64::from(gateway)).then_some(())
    });
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn status_says_how_many_workers_are_wanted() {
    let platform = start("{ min: 0, max: 3 }");
    let scale = platform.function("probe")["scale"].clone();
    assert_eq!(
        scale,
        serde_json::json!({ "wanted": 0, "min": 0, "max": 3 })
    );
    assert_eq!(platform.get("/worker").status(), 200);
    let status = platform.place.hearth("status", &[]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("\n  workers: 1 of 0 to 3"), "{text}");
}
