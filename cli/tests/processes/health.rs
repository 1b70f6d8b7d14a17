//! Health probes of workers, and what a crash loop costs.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::Load;
use crate::platform::{HTTP_ONLY, PROBE, Place, Platform, pid};
use crate::{process, wait};

fn manifest(health: &str, env: &str) -> String {
    format!("{HTTP_ONLY}\n{PROBE}    health: {health}\n    env: {env}\n")
}

fn start(health: &str, env: &str) -> Platform {
    Platform::start_in(Place::new(&manifest(health, env)))
}

fn ready(platform: &Platform) -> Vec<u32> {
    let function = platform.function("probe");
    let workers = function["workers"].as_array().unwrap().iter();
    let ready = workers.filter(|worker| worker["state"] == "ready");
    ready.map(pid).collect()
}

fn said(platform: &Platform, begin: &str) -> Vec<String> {
    let logs = platform.logs();
    let said = logs.iter().filter_map(|record| record["message"].as_str());
    let said = said.filter(|message| message.starts_with(begin));
    said.map(ToOwned::to_owned).collect()
}

#[test]
fn a_worker_serves_once_it_has_been_well_and_its_questions_are_in_no_access_log() {
    let platform = Platform::begin(Place::new(&manifest(
        "{ path: /healthz, interval: 200ms }",
        "{ WARM_UP: '3' }",
    )));
    // The request is sent while the worker warms up, and waits for it.
    let answer = platform.get("/worker");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["count"], 5, "it was asked four times before");
    assert_eq!(
        said(&platform, "not well yet: "),
        ["not well yet: GET /healthz answered 503"]
    );
    let access = platform.logs();
    let mut access = access.iter().filter(|record| record["source"] == "access");
    assert!(!access.any(|record| record.to_string().contains("healthz")));
}

#[test]
fn a_sick_worker_is_replaced_by_one_that_is_ready_before_it_goes_and_no_request_is_lost() {
    let platform = start("{ path: /healthz, interval: 100ms, failures: 3 }", "{}");
    let sick = platform.worker("probe");
    let load = Load::start(platform.http(), &["GET /worker", "GET /sleep?ms=1"]);
    let begin = Instant::now();
    assert_eq!(platform.get("/sicken").status(), 204);
    wait::until("another one serves", || {
        let ready = ready(&platform);
        (!ready.is_empty() && !ready.contains(&sick)).then_some(())
    });
    let took = begin.elapsed();
    process::wait_until_gone(&[sick], Duration::from_secs(5));
    let answered = load.answered();
    assert_eq!(load.stop(), Vec::<String>::new());
    let why = said(
        &platform,
        "not well 3 times in a row: GET /healthz answered 503",
    );
    assert_eq!(why.len(), 1, "{:?}", said(&platform, "not well"));
    println!(
        "a sick worker was replaced {took:.0?} after it fell sick; requests: {answered}, lost: 0"
    );
}

#[test]
fn a_reload_whose_workers_are_never_well_is_refused_with_the_reason_and_the_old_ones_serve_on() {
    let health = "{ path: /healthz, interval: 200ms }\n    start_timeout: 1s";
    let platform = start(health, "{}");
    let before = platform.worker_number("probe");
    platform.place.write(&manifest(health, "{ HEALTH: sick }"));
    let reloaded = platform.place.hearth("reload", &[]);
    assert_eq!(reloaded.status.code(), Some(1));
    let told = String::from_utf8(reloaded.stderr).unwrap();
    let expect = "probe: was not well within 1 s: GET /healthz answered 503";
    assert!(told.contains(expect), "{told}");
    assert_eq!(platform.get("/worker").json()["worker"], before);
    // A worker that becomes healthy within the time is accepted.
    platform.place.write(&manifest(health, "{ WARM_UP: '2' }"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_ne!(platform.get("/worker").json()["worker"], before);
}

#[test]
fn a_worker_that_is_busy_with_a_request_is_not_called_sick() {
    let health = "{ path: /healthz, interval: 100ms, timeout: 100ms, failures: 1 }";
    let platform = start(health, "{}");
    let worker = platform.worker("probe");
    assert_eq!(platform.get("/sleep?ms=2000").status(), 200);
    assert_eq!(platform.worker("probe"), worker);
    assert_eq!(said(&platform, "not well"), Vec::<String>::new());
}

#[test]
fn a_worker_that_is_sick_again_and_again_is_replaced_with_growing_pauses() {
    let health = "{ path: /healthz, interval: 100ms, failures: 1 }";
    let platform = start(health, "{ WARM_UP: '0' }");
    let begin = Instant::now();
    let mut sickened = 0;
    while begin.elapsed() < Duration::from_secs(4) {
        assert_eq!(
            platform.get("/sicken").status(),
            204,
            "it serves all the time"
        );
        sickened += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let restarts = platform.function("probe")["restarts"].as_u64().unwrap();
    println!("sick all the time for 4 s: {sickened} requests answered, {restarts} replacements");
    // At once, then after 0.1, 0.2, 0.4, 0.8 and 1.6 s: six replacements within about three seconds.
    assert!((3..=8).contains(&restarts), "{restarts}");
}

/// Processor time of a process and of its children that it has waited for, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    // utime, stime, cutime, cstime (proc_pid_stat(5)); index 0 is the state.
    fields[11..15]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_crash_loop_never_spends_a_core() {
    let functions = r#"
functions:
  broken: { routes: [{ path: /x }], binary: probe, env: { FAIL_START: no key } }
  gone: { routes: [{ path: /y }], binary: /bin/false, scale: { min: 4 } }
"#;
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" } }"#;
    let platform = Platform::begin(Place::new(&format!("{gateway}{functions}")));
    let function = |name: &str| platform.function(name);
    let is_loop = |one: &Value| one["state"] == "crash-loop";
    wait::until("both are called crash loops", || {
        (is_loop(&function("broken")) && is_loop(&function("gone"))).then_some(())
    });
    let (pid, starts) = (platform.supervisor(), || {
        ["broken", "gone"].map(|name| function(name)["restarts"].as_u64().unwrap())
    });
    let (before, begun, started) = (ticks(pid), Instant::now(), starts());
    std::thread::sleep(Duration::from_secs(5));
    let (spent, took) = (ticks(pid) - before, begun.elapsed());
    let after = starts();
    let share = spent as f64 / 100.0 / took.as_secs_f64();
    println!(
        "two crash loops, 5 workers: {spent} ticks of 10 ms in {took:.1?}, {:.1} % of a core; starts: {}",
        share * 100.0,
        after.iter().sum::<u64>() - started.iter().sum::<u64>()
    );
    // On an idle machine, a fifth of this is spent on the queries of the status.
    assert!(share < 0.1, "{share}");
}
