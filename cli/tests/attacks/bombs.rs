//! Workers that take too much from others: memory, processor time, and processes that stay.

use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::json;

use crate::outcome::{Outcome, Table};
use crate::scene::{By, Scene, order, processes_named};
use crate::wait;

fn by() -> By {
    match geteuid().is_root() {
        true => By::Root,
        false => By::User,
    }
}

#[test]
fn memory_beyond_the_limit_ends_the_worker_that_takes_it_and_nobody_else() {
    let scene = Scene::new(by());
    // Without a control group, only the memory that can be mapped is limited, at a much higher value.
    let grouped = scene.enforces("plain", "memory");
    let bytes: u64 = if grouped { 160 << 20 } else { 1200 << 20 };
    let bomb = json!({ "act": "memory bomb", "bytes": bytes });
    let expected: &[&str] = if grouped {
        &["died"]
    } else {
        &["ENOMEM", "died"]
    };
    let begin = Instant::now();
    let attack = scene.inside("plain", &bomb);
    println!("{attack} after {:.1} s", begin.elapsed().as_secs_f64());
    let mut table = Table::default();
    table.add(
        "take memory",
        (&scene.outside(&bomb), &["done"]),
        (&attack, expected),
    );
    // The function serves again, and the other workers were not affected.
    let again = wait::until("it serves again", || {
        Some(scene.inside("plain", &order("nothing"))).filter(|one| *one != Outcome::Died)
    });
    assert_eq!(again, Outcome::Done("nothing".to_owned()));
    assert_eq!(scene.platform.function("neighbour")["restarts"], 0);
    if grouped {
        let why = scene.platform.function("plain")["last_error"].clone();
        let why = why.as_str().unwrap();
        assert!(why.contains("limits.memory"), "{why}");
        // The client gets the reason, too.
        let problem = scene.ask("plain", &bomb).problem(502, "limit");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("limits.memory"), "{detail}");
    }
    table.conclude(1);
}

#[test]
fn limits_that_are_met_are_told() {
    let scene = Scene::new(by());
    if !scene.enforces("plain", "pids") {
        // Without control groups, nothing counts how often a limit is reached, and the status has no counts.
        let worker = scene.platform.function("plain")["workers"][0].clone();
        assert!(worker["limited"].is_null(), "{worker}");
        return;
    }
    let bomb = json!({ "act": "fork bomb", "count": 40 });
    assert_eq!(
        scene.inside("plain", &bomb),
        Outcome::Failed("EAGAIN".to_owned())
    );
    let burn = json!({ "act": "burn", "ms": 1000 });
    assert_eq!(
        scene.inside("connected", &burn),
        Outcome::Done("burnt".to_owned())
    );
    for (function, key) in [("plain", "limits.pids"), ("connected", "limits.cpu")] {
        let worker = scene.platform.function(function)["workers"][0].clone();
        assert!(worker["limited"][key].as_u64() > Some(0), "{worker}");
        let record = scene.platform.wait_for_record(key, |record| {
            let message = record["message"].as_str().unwrap_or_default();
            record["function"] == function && message.contains(key)
        });
        println!("{function}: {}", record["message"]);
    }
}

#[test]
fn a_child_of_a_worker_ends_with_it() {
    let scene = Scene::new(by());
    let left = order("leave child");
    let control = scene.outside(&left);
    let Outcome::Done(child) = &control else {
        panic!("{control:?}");
    };
    let child: u32 = child.parse().unwrap();
    assert!(crate::process::runs(child), "outside it lives on");
    crate::process::signal(child, nix::sys::signal::Signal::SIGKILL);

    // Only the children of the platform's worker count.
    let of_worker = |worker: u32| crate::process::children(worker);
    let worker = scene.worker("plain");
    scene.inside("plain", &left);
    let children = of_worker(worker);
    assert_eq!(children.len(), 1, "it has a child");
    assert_eq!(scene.inside("plain", &order("die")), Outcome::Died);
    crate::process::wait_until_gone(&children, Duration::from_secs(5));
    assert!(
        !processes_named("hostile").is_empty(),
        "the next worker is there"
    );
}

/// The time within which 99 of 100 requests are answered.
fn p99(scene: &Scene) -> Duration {
    let mut client = scene.platform.connect();
    let headers = ["Host: neighbour.example", "Content-Type: application/json"];
    let order = order("nothing").to_string();
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(
                client.ask("POST /", &headers, order.as_bytes()).status(),
                200
            );
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// A worker that wakes does not preempt others (`docs/decisions/0005-batch.md`): it may wait for a few time slices of
/// 3 ms, even for a short request. Below this latency, the ratio is meaningless.
const TURNS: Duration = Duration::from_millis(10);

#[test]
fn who_burns_the_processor_does_not_keep_its_neighbour_waiting() {
    let scene = Scene::new(by());
    // Other load on the machine distorts the measurement, so one good attempt of three is enough.
    let ratios = (0..3).map(|_| {
        let alone = p99(&scene);
        let burn = json!({ "act": "burn", "ms": 6000 });
        let beside = std::thread::scope(|threads| {
            let hog = threads.spawn(|| scene.inside("plain", &burn));
            let beside = p99(&scene);
            assert!(!hog.is_finished(), "it burns all the while");
            beside
        });
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        println!(
            "p99 of the neighbour: {alone:?} alone, {beside:?} beside one that burns: {ratio:.2}"
        );
        ratio < 2.0 || beside < TURNS
    });
    assert!(ratios.into_iter().any(|good| good));
}
