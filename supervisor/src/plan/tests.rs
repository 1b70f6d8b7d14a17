//! Golden traces: events, each at its millisecond, and the actions that the plan returns.

mod health;
mod scale;
mod start;

use super::*;
use Event::*;

/// A function with a fixed number of workers.
fn fixed(name: &str, workers: u32, version: u32) -> Wanted {
    scaled(name, (workers, workers), version)
}

/// A function whose number of workers follows its load.
fn scaled(name: &str, (min, max): (u32, u32), version: u32) -> Wanted {
    Wanted {
        name: name.to_owned(),
        version,
        scale: Scale {
            min,
            max,
            idle: Duration::from_secs(30),
        },
        concurrency: 1,
        start_time: Duration::from_secs(10),
        health: None,
    }
}

/// Passes `events`, each at its millisecond, to a platform with these functions and numbers of workers. Compares the
/// trace of actions.
fn check(functions: &[(&str, u32)], events: &[(u64, Event)], expect: &str) {
    let wanted: Vec<Wanted> = functions
        .iter()
        .map(|(name, workers)| fixed(name, *workers, 1))
        .collect();
    play(&wanted, events, expect);
}

/// The same as `check` for functions of any kind.
fn play(wanted: &[Wanted], events: &[(u64, Event)], expect: &str) {
    let start = Instant::now();
    let mut platform = Platform::new(wanted, 1, start);
    let mut trace = String::new();
    for (millis, event) in events {
        for action in platform.step(start + Duration::from_millis(*millis), event.clone()) {
            trace.push_str(&format!("{millis}: {action}\n"));
        }
    }
    let expect: String = expect
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(trace, expect);
}

#[test]
fn a_start_and_an_orderly_stop() {
    check(
        &[("a", 2)],
        &[
            (0, Begin),
            (5, GatewayStarted),
            (10, WorkerReady(1)),
            (12, WorkerReady(2)),
            (100, Stop),
            (200, GatewayEnded("exit status 0".into())),
            (210, WorkerEnded(1, "exit status 0".into())),
            (220, WorkerEnded(2, "exit status 0".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        0: start worker 2 of a, version 1
        5: snapshot 1 {}
        10: say Info Worker(1, "a"): ready
        10: introduce worker 1
        10: snapshot 2 {"a": [1]}
        10: settled
        12: say Info Worker(2, "a"): ready
        12: introduce worker 2
        12: snapshot 3 {"a": [1, 2]}
        100: stop gateway within 5s
        200: stop worker 1 within 2s
        200: stop worker 2 within 2s
        220: end
        "#,
    );
}

#[test]
fn a_dead_worker_is_replaced_at_once_and_the_next_time_later() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (50, WorkerEnded(1, "signal 9".into())),
            (60, WorkerReady(2)),
            (70, WorkerEnded(2, "signal 9".into())),
            (80, Timer),
            (300, Timer),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        50: withdraw worker 1
        50: snapshot 3 {}
        50: say Warn Worker(1, "a"): ended: signal 9; starting it again
        50: start worker 2 of a, version 1
        60: say Info Worker(2, "a"): ready
        60: introduce worker 2
        60: snapshot 4 {"a": [2]}
        70: withdraw worker 2
        70: snapshot 5 {}
        70: say Warn Worker(2, "a"): ended: signal 9; starting it again in 100 ms
        300: start worker 3 of a, version 1
        "#,
    );
}

#[test]
fn a_crash_loop_is_reported_once_and_the_others_go_on() {
    let mut events = vec![(0, Begin), (1, GatewayStarted), (2, WorkerReady(2))];
    for (round, id) in [1, 3, 4, 5, 6].into_iter().enumerate() {
        let at = 10_000 * (round as u64 + 1);
        events.push((at, WorkerEnded(id, "exit status 1".into())));
        events.push((at + 5_000, Timer));
    }
    let start = Instant::now();
    let wanted = ["bad", "good"].map(|name| fixed(name, 1, 1));
    let mut platform = Platform::new(&wanted, 1, start);
    let mut said = Vec::new();
    for (millis, event) in events {
        for action in platform.step(start + Duration::from_millis(millis), event) {
            if let Action::Say(Level::Error, about, text) = action {
                said.push(format!("{about:?}: {text}"));
            }
        }
    }
    assert_eq!(
        said,
        [r#"Function("bad"): crash loop: 5 deaths in a row; the other functions go on"#]
    );
    assert!(platform.view("bad").unwrap().crash_loop);
    assert_eq!(platform.waiting_for(), ["bad"]);
}

#[test]
fn a_worker_that_is_never_ready_is_killed_and_one_that_will_not_end_too() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (10_000, Timer),
            (10_001, WorkerEnded(1, "signal 9".into())),
            (10_002, WorkerReady(2)),
            (10_010, Stop),
            (10_011, GatewayEnded(String::new())),
            (13_000, Timer),
            (13_001, WorkerEnded(2, "signal 9".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        10000: say Warn Worker(1, "a"): was not ready within 10 s; killed
        10000: kill worker 1
        10001: say Warn Worker(1, "a"): ended: signal 9; starting it again
        10001: start worker 2 of a, version 1
        10002: say Info Worker(2, "a"): ready
        10002: introduce worker 2
        10002: snapshot 2 {"a": [2]}
        10002: settled
        10010: stop gateway within 5s
        10011: stop worker 2 within 2s
        13000: say Warn Worker(2, "a"): did not end in time; killed
        13000: kill worker 2
        13001: end
        "#,
    );
}

#[test]
fn a_worker_that_says_it_cannot_start_is_started_again_later() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (5, WorkerGaveUp(1, "no key".into())),
            (6, WorkerEnded(1, "exit status 1".into())),
            (7, WorkerGaveUp(2, "no key".into())),
            (8, WorkerEnded(2, "exit status 1".into())),
            (300, Timer),
            (310, WorkerReady(3)),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        5: say Error Worker(1, "a"): no key
        6: say Warn Worker(1, "a"): ended: exit status 1; starting it again
        6: start worker 2 of a, version 1
        7: say Error Worker(2, "a"): no key
        8: say Warn Worker(2, "a"): ended: exit status 1; starting it again in 100 ms
        8: refuse requests of a: no key
        8: settled
        300: start worker 3 of a, version 1
        300: take requests of a
        310: say Info Worker(3, "a"): ready
        310: introduce worker 3
        310: snapshot 2 {"a": [3]}
        "#,
    );
}

#[test]
fn a_new_gateway_meets_the_workers_that_live() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (50, GatewayEnded("signal 9".into())),
            (60, GatewayStarted),
            (70, GatewayEnded("signal 9".into())),
            (80, Timer),
            (300, Timer),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        50: say Error Gateway: ended: signal 9; starting it again
        50: start gateway
        60: introduce worker 1
        60: snapshot 3 {"a": [1]}
        70: say Error Gateway: ended: signal 9; starting it again in 100 ms
        300: start gateway
        "#,
    );
}

#[test]
fn stopping_twice_kills() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, Stop),
            (11, Stop),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: stop gateway within 5s
        11: kill gateway
        11: kill worker 1
        "#,
    );
}

fn wanted(of: &[(&str, u32, u32)]) -> Event {
    let wanted = of
        .iter()
        .map(|(name, workers, version)| fixed(name, *workers, *version));
    Reload {
        wanted: wanted.collect(),
        new_gateway: false,
    }
}

#[test]
fn a_reload_swaps_once_all_is_ready_and_drains_once_the_gateway_says_so() {
    check(
        &[("a", 1), ("b", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (3, WorkerReady(2)),
            (10, wanted(&[("a", 1, 2), ("b", 1, 1), ("c", 1, 2)])),
            (20, WorkerReady(3)),
            (30, WorkerReady(4)),
            (31, GatewayServes(3)),
            (32, GatewayServes(4)),
            (40, WorkerEnded(1, "exit status 0".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        0: start worker 2 of b, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        3: say Info Worker(2, "b"): ready
        3: introduce worker 2
        3: snapshot 3 {"a": [1], "b": [2]}
        3: settled
        10: start worker 3 of a, version 2
        10: start worker 4 of c, version 2
        20: say Info Worker(3, "a"): ready
        20: introduce worker 3
        30: say Info Worker(4, "c"): ready
        30: introduce worker 4
        30: commit
        30: snapshot 4 {"a": [3], "b": [2], "c": [4]}
        32: withdraw worker 1
        32: drain worker 1 within 30s
        32: served
        40: say Info Worker(1, "a"): ended: exit status 0; it had been replaced
        "#,
    );
}

#[test]
fn a_reload_whose_worker_dies_is_abandoned_and_what_was_served_goes_on() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, wanted(&[("a", 2, 2)])),
            (20, WorkerReady(2)),
            (30, WorkerEnded(3, "exit status 1".into())),
            (31, WorkerEnded(2, "signal 9".into())),
            (40, WorkerEnded(1, "signal 9".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: start worker 2 of a, version 2
        10: start worker 3 of a, version 2
        20: say Info Worker(2, "a"): ready
        20: introduce worker 2
        30: withdraw worker 2
        30: kill worker 2
        30: abandon: a: a new worker ended: exit status 1
        31: say Info Worker(2, "a"): ended: signal 9; it had been replaced
        40: withdraw worker 1
        40: snapshot 3 {}
        40: say Warn Worker(1, "a"): ended: signal 9; starting it again
        40: start worker 4 of a, version 1
        "#,
    );
}

#[test]
fn a_reload_that_is_not_wanted_any_more_leaves_room_for_the_next() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, wanted(&[("a", 1, 2)])),
            (20, GiveUp("a rollback was asked for".into())),
            (20, wanted(&[("a", 1, 3)])),
            (25, WorkerReady(3)),
            (26, GatewayServes(3)),
            (27, GiveUp("nothing is under way".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: start worker 2 of a, version 2
        20: kill worker 2
        20: abandon: a rollback was asked for
        20: start worker 3 of a, version 3
        25: say Info Worker(3, "a"): ready
        25: introduce worker 3
        25: commit
        25: snapshot 3 {"a": [3]}
        26: withdraw worker 1
        26: drain worker 1 within 30s
        26: served
        "#,
    );
}

#[test]
fn fewer_workers_are_drained_and_more_are_started_without_touching_the_rest() {
    check(
        &[("a", 2), ("b", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (2, WorkerReady(2)),
            (2, WorkerReady(3)),
            (10, wanted(&[("a", 1, 1), ("b", 2, 1)])),
            (20, WorkerReady(4)),
            (30, GatewayServes(5)),
            (30_300, Timer),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        0: start worker 2 of a, version 1
        0: start worker 3 of b, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: say Info Worker(2, "a"): ready
        2: introduce worker 2
        2: snapshot 3 {"a": [1, 2]}
        2: say Info Worker(3, "b"): ready
        2: introduce worker 3
        2: snapshot 4 {"a": [1, 2], "b": [3]}
        2: settled
        10: start worker 4 of b, version 1
        20: say Info Worker(4, "b"): ready
        20: introduce worker 4
        20: commit
        20: snapshot 5 {"a": [1], "b": [3, 4]}
        30: withdraw worker 2
        30: drain worker 2 within 30s
        30: served
        30300: say Warn Worker(2, "a"): did not end in time; killed
        30300: kill worker 2
        "#,
    );
}

#[test]
fn a_gateway_that_dies_in_a_reload_is_started_with_what_comes_next() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, wanted(&[("a", 1, 2)])),
            (15, GatewayEnded("signal 9".into())),
            (20, WorkerReady(2)),
            (21, GatewayStarted),
            (22, GatewayServes(3)),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: start worker 2 of a, version 2
        15: say Error Gateway: ended: signal 9; starting it again
        15: start gateway
        20: say Info Worker(2, "a"): ready
        20: commit
        20: drain worker 1 within 30s
        21: introduce worker 2
        21: snapshot 3 {"a": [2]}
        22: served
        "#,
    );
}

#[test]
fn other_listeners_get_a_new_gateway_once_the_old_one_has_finished() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (
                10,
                Reload {
                    wanted: vec![fixed("a", 1, 1)],
                    new_gateway: true,
                },
            ),
            (20, GatewayEnded("exit status 0".into())),
            (21, GatewayStarted),
            (22, GatewayServes(3)),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: commit
        10: stop gateway within 5s
        20: start gateway
        21: introduce worker 1
        21: snapshot 3 {"a": [1]}
        22: served
        "#,
    );
}

#[test]
fn a_stop_in_a_reload_stops_all() {
    check(
        &[("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, wanted(&[("a", 1, 2)])),
            (11, Stop),
            (12, GatewayEnded(String::new())),
            (13, WorkerEnded(1, String::new())),
            (14, WorkerEnded(2, String::new())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        10: start worker 2 of a, version 2
        11: stop gateway within 5s
        12: stop worker 1 within 2s
        12: stop worker 2 within 2s
        14: end
        "#,
    );
}
