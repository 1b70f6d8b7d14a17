//! Workers and gateways that are killed or stopped under load, and whether clients notice.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::http::request;
use crate::load::Load;
use crate::platform::{PROBE, Platform, pid};
use crate::{process, wait};

/// Longer than it takes to detect any worker that hangs: two intervals of five seconds, and a margin.
const FOUND: Duration = Duration::from_secs(20);

fn workers(platform: &Platform) -> Vec<u32> {
    let function = platform.function("probe");
    let workers = function["workers"].as_array().unwrap().iter();
    let ready = workers.filter(|worker| worker["state"] == "ready");
    ready.map(pid).collect()
}

#[test]
fn killed_workers_lose_no_request_that_may_be_sent_twice() {
    let platform = Platform::start(&format!("{PROBE}    scale: {{ min: 4, max: 4 }}\n"));
    let load = Load::start(platform.http(), &["GET /worker", "GET /sleep?ms=2"]);
    for _ in 0..6 {
        let before = load.answered();
        wait::until("requests go on", || {
            (load.answered() > before + 50).then_some(())
        });
        let victim = wait::until("more than one worker is ready", || {
            let ready = workers(&platform);
            (ready.len() > 1).then(|| ready[0])
        });
        process::signal(victim, Signal::SIGKILL);
        process::wait_until_gone(&[victim], Duration::from_secs(5));
    }
    assert_eq!(load.stop(), Vec::<String>::new());
}

#[test]
fn a_killed_gateway_is_replaced_no_connection_is_refused_and_the_workers_keep_their_state() {
    let platform = Platform::start(PROBE);
    let worker = platform.worker("probe");
    for _ in 0..3 {
        let gateway = platform.gateway();
        process::signal(gateway, Signal::SIGKILL);
        // No gateway runs at this moment: the next one accepts these connections from the kernel's queue.
        for _ in 0..5 {
            let client = TcpStream::connect(platform.http()).unwrap();
            drop(client);
        }
        wait::until("a new gateway answers", || {
            let mut client = platform.connect();
            client
                .try_send(request("GET /worker", &["Connection: close"], b""))
                .ok()?;
            (client.try_head().ok()?.status == 200).then_some(())
        });
        assert_ne!(platform.gateway(), gateway);
    }
    assert_eq!(platform.worker("probe"), worker);
    assert!(platform.get("/worker").json()["count"].as_u64().unwrap() >= 4);
}

#[test]
fn a_worker_that_hangs_in_a_request_is_504_and_then_replaced() {
    let platform = Platform::start(&format!("{PROBE}    timeout: 300ms\n"));
    let hanging = platform.worker("probe");
    let mut client = platform.connect();
    client.send(request("GET /sleep?ms=3600000", &[], b""));
    client.answer("GET").problem(504, "timeout");
    wait::within(FOUND, "another worker answers", || {
        let answer = platform.get("/worker");
        (answer.status() == 200).then_some(())
    });
    assert_ne!(platform.worker("probe"), hanging);
    platform.wait_for_record("its reason is in the log", |record| {
        record["message"]
            .as_str()
            .unwrap()
            .starts_with("is stuck: ")
    });
}

#[test]
fn a_worker_that_hangs_with_nothing_to_do_is_replaced() {
    let platform = Platform::start(PROBE);
    assert_eq!(platform.get("/worker").status(), 200);
    let stopped = platform.worker("probe");
    process::signal(stopped, Signal::SIGSTOP);
    wait::within(FOUND, "another worker takes its place", || {
        let ready = workers(&platform);
        (!ready.is_empty() && !ready.contains(&stopped)).then_some(())
    });
    platform.wait_for_record("its reason is in the log", |record| {
        record["message"] == "has nothing to do and does not answer"
    });
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn a_worker_that_is_busy_for_long_is_left_alone() {
    let platform = Platform::start(&format!("{PROBE}    timeout: 30s\n"));
    let worker = platform.worker("probe");
    // Longer than two intervals of the PING that an idle worker must answer.
    let answer = platform.get("/sleep?ms=11000");
    assert_eq!(answer.status(), 200);
    assert_eq!(platform.worker("probe"), worker);
}
