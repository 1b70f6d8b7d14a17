//! A gateway with several threads: each has its own sockets to every worker, and all share the limits.

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::http::Client;
use crate::platform::{PROBE, Place, Platform};
use crate::wait;

const THREADS: &str = r#"gateway: { listen: { http: "127.0.0.1:0" }, threads: 3 }"#;

fn platform() -> Platform {
    Platform::start_in(Place::new(&format!("{THREADS}\n{PROBE}")))
}

/// Sends several requests on each of many connections, which are distributed among the threads.
fn ask_on_many_connections(platform: &Platform) -> Vec<u64> {
    let mut clients: Vec<Client> = (0..24).map(|_| platform.connect()).collect();
    let mut counts = Vec::new();
    for _ in 0..4 {
        for client in &mut clients {
            let answer = client.ask("GET /worker", &[], b"");
            assert_eq!(answer.status(), 200, "{}", answer.text());
            counts.push(answer.json()["count"].as_u64().unwrap());
        }
    }
    counts
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

#[test]
fn one_worker_answers_all_threads() {
    let platform = platform();
    let counts = ask_on_many_connections(&platform);
    // One process counted all requests, whichever thread they came through.
    let mut sorted = counts.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), counts.len());
}

#[test]
fn all_threads_meet_a_new_worker_and_a_new_gateway_meets_the_old_one() {
    let platform = platform();
    ask_on_many_connections(&platform);
    let first = platform.worker("probe");
    kill(first);
    wait::until("a new worker is ready", || {
        let function = platform.function("probe");
        let worker = &function["workers"][0];
        (function["state"] == "ready" && worker["pid"] != first).then_some(())
    });
    ask_on_many_connections(&platform);
    let (worker, gateway) = (platform.worker("probe"), platform.gateway());
    kill(gateway);
    wait::until("a new gateway answers", || {
        let pid = platform.status()["gateway"]["pid"].as_u64()?;
        (pid != u64::from(gateway)).then_some(())
    });
    let counts = ask_on_many_connections(&platform);
    assert_eq!(platform.worker("probe"), worker);
    assert!(
        counts[0] > 90,
        "the worker has forgotten its state: {counts:?}"
    );
}
