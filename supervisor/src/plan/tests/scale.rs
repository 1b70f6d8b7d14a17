//! Golden traces of functions whose number of workers follows their load.

use super::*;

/// The load of function `a`: `waiting` requests, `service` milliseconds of a worker's time for each, and `busy`
/// handlers in thousandths.
fn pressed(waiting: u32, service: u64, busy: u32) -> Event {
    Pressure(crate::event::Pressure {
        function: "a".to_owned(),
        waiting,
        service: Duration::from_millis(service),
        busy,
        queued: waiting > 0,
    })
}

/// Plays `events` for function `a`, which has one ready worker and may have `max`.
fn one_of(max: u32, events: &[(u64, Event)], expect: &str) {
    let mut all = vec![(0, Begin), (1, GatewayStarted), (2, WorkerReady(1))];
    all.extend_from_slice(events);
    let begin = r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: say Info Worker(1, "a"): ready
        2: introduce worker 1
        2: snapshot 2 {"a": [1]}
        2: settled
        "#;
    play(
        &[scaled("a", (1, max), 1)],
        &all,
        &format!("{begin}{expect}"),
    );
}

#[test]
fn the_first_request_starts_a_worker_and_a_quiet_time_ends_it() {
    play(
        &[scaled("a", (0, 1), 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (100, pressed(1, 2, 50)),
            (105, WorkerReady(1)),
            (200, pressed(0, 2, 100)),
            (300, pressed(0, 2, 0)),
            (30_299, Timer),
            (30_300, Timer),
            (30_301, GatewayServes(3)),
            (30_302, WorkerEnded(1, "exit status 0".into())),
            (70_000, pressed(1, 2, 50)),
        ],
        r#"
        0: start gateway
        1: snapshot 1 {}
        1: settled
        100: say Info Function("a"): scaled from 0 to 1: requests that wait: 1, busy handlers: 0.0
        100: start worker 1 of a, version 1
        105: say Info Worker(1, "a"): ready
        105: introduce worker 1
        105: snapshot 2 {"a": [1]}
        30300: say Info Function("a"): scaled from 1 to 0: quiet for 30s
        30300: snapshot 3 {}
        30301: withdraw worker 1
        30301: drain worker 1 within 30s
        30302: say Info Worker(1, "a"): ended: exit status 0; it was no longer needed
        70000: say Info Function("a"): scaled from 0 to 1: requests that wait: 1, busy handlers: 0.0
        70000: start worker 2 of a, version 1
        "#,
    );
}

#[test]
fn a_queue_that_is_soon_over_starts_nobody() {
    one_of(
        8,
        &[(10, pressed(4, 2, 500)), (20, pressed(0, 2, 1000))],
        "",
    );
}

#[test]
fn as_many_workers_are_started_as_the_queue_takes_and_those_on_their_way_count() {
    one_of(
        8,
        &[
            (10, pressed(10, 10, 1000)),
            (20, pressed(10, 20, 1000)),
            (21, WorkerReady(2)),
            (30, pressed(8, 10, 1000)),
            (40, pressed(3, 200, 1000)),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 10, busy handlers: 1.0
        10: start worker 2 of a, version 1
        21: say Info Worker(2, "a"): ready
        21: introduce worker 2
        21: snapshot 3 {"a": [1, 2]}
        30: say Info Function("a"): scaled from 2 to 4: requests that wait: 8, busy handlers: 1.0
        30: start worker 3 of a, version 1
        30: start worker 4 of a, version 1
        "#,
    );
}

#[test]
fn a_long_queue_of_slow_requests_doubles_the_workers_until_all_that_are_allowed_are_there() {
    one_of(
        5,
        &[
            (10, pressed(100, 100, 1000)),
            (15, WorkerReady(2)),
            (20, pressed(98, 100, 1000)),
            (25, WorkerReady(3)),
            (25, WorkerReady(4)),
            (30, pressed(96, 100, 1000)),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 100, busy handlers: 1.0
        10: start worker 2 of a, version 1
        15: say Info Worker(2, "a"): ready
        15: introduce worker 2
        15: snapshot 3 {"a": [1, 2]}
        20: say Info Function("a"): scaled from 2 to 4: requests that wait: 98, busy handlers: 1.0
        20: start worker 3 of a, version 1
        20: start worker 4 of a, version 1
        25: say Info Worker(3, "a"): ready
        25: introduce worker 3
        25: snapshot 4 {"a": [1, 2, 3]}
        25: say Info Worker(4, "a"): ready
        25: introduce worker 4
        25: snapshot 5 {"a": [1, 2, 3, 4]}
        30: say Info Function("a"): scaled from 4 to 5: requests that wait: 96, busy handlers: 1.0
        30: start worker 5 of a, version 1
        "#,
    );
}

#[test]
fn workers_that_are_busy_all_the_time_get_one_more_at_a_time() {
    one_of(
        3,
        &[
            (100, pressed(1, 1, 1000)),
            (105, WorkerReady(2)),
            (200, pressed(1, 1, 1500)),
            (300, pressed(1, 1, 1800)),
            (310, WorkerReady(3)),
        ],
        r#"
        100: say Info Function("a"): scaled from 1 to 2: requests that wait: 1, busy handlers: 1.0
        100: start worker 2 of a, version 1
        105: say Info Worker(2, "a"): ready
        105: introduce worker 2
        105: snapshot 3 {"a": [1, 2]}
        300: say Info Function("a"): scaled from 2 to 3: requests that wait: 1, busy handlers: 1.8
        300: start worker 3 of a, version 1
        310: say Info Worker(3, "a"): ready
        310: introduce worker 3
        310: snapshot 4 {"a": [1, 2, 3]}
        "#,
    );
}

#[test]
fn those_who_are_still_needed_stay_and_the_youngest_of_the_others_go() {
    one_of(
        4,
        &[
            (10, pressed(100, 100, 1000)),
            (20, WorkerReady(2)),
            (21, pressed(100, 100, 1000)),
            (22, WorkerReady(3)),
            (23, WorkerReady(4)),
            (1000, pressed(0, 1, 1300)),
            (20_000, pressed(0, 1, 50)),
            (30_021, Timer),
            (30_022, GatewayServes(6)),
            (60_021, Timer),
            (60_022, GatewayServes(7)),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 100, busy handlers: 1.0
        10: start worker 2 of a, version 1
        20: say Info Worker(2, "a"): ready
        20: introduce worker 2
        20: snapshot 3 {"a": [1, 2]}
        21: say Info Function("a"): scaled from 2 to 4: requests that wait: 100, busy handlers: 1.0
        21: start worker 3 of a, version 1
        21: start worker 4 of a, version 1
        22: say Info Worker(3, "a"): ready
        22: introduce worker 3
        22: snapshot 4 {"a": [1, 2, 3]}
        23: say Info Worker(4, "a"): ready
        23: introduce worker 4
        23: snapshot 5 {"a": [1, 2, 3, 4]}
        30021: say Info Function("a"): scaled from 4 to 2: quiet for 30s
        30021: snapshot 6 {"a": [1, 2]}
        30022: withdraw worker 3
        30022: drain worker 3 within 30s
        30022: withdraw worker 4
        30022: drain worker 4 within 30s
        60021: say Info Function("a"): scaled from 2 to 1: quiet for 30s
        60021: snapshot 7 {"a": [1]}
        60022: withdraw worker 2
        60022: drain worker 2 within 30s
        "#,
    );
}

#[test]
fn a_crash_loop_holds_its_backoff_whatever_waits() {
    play(
        &[scaled("a", (0, 4), 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (10, pressed(1, 2, 50)),
            (11, WorkerEnded(1, "exit status 1".into())),
            (12, pressed(2, 2, 50)),
            (13, WorkerEnded(2, "exit status 1".into())),
            (14, pressed(3, 2, 50)),
            (300, Timer),
            (301, WorkerEnded(3, "exit status 1".into())),
            (400, pressed(0, 2, 0)),
            (600, Timer),
            (601, WorkerEnded(4, "exit status 1".into())),
            (602, pressed(1, 2, 50)),
            (700, pressed(0, 2, 0)),
            (30_700, Timer),
            (30_701, WorkerEnded(5, "exit status 1".into())),
            (30_702, pressed(1, 2, 50)),
            (32_000, Timer),
        ],
        r#"
        0: start gateway
        1: snapshot 1 {}
        1: settled
        10: say Info Function("a"): scaled from 0 to 1: requests that wait: 1, busy handlers: 0.0
        10: start worker 1 of a, version 1
        11: say Warn Worker(1, "a"): ended: exit status 1; starting it again
        11: start worker 2 of a, version 1
        13: say Warn Worker(2, "a"): ended: exit status 1; starting it again in 100 ms
        13: refuse requests of a: ended: exit status 1
        300: start worker 3 of a, version 1
        300: take requests of a
        301: say Warn Worker(3, "a"): ended: exit status 1; starting it again in 169 ms
        301: refuse requests of a: ended: exit status 1
        600: start worker 4 of a, version 1
        600: take requests of a
        601: say Warn Worker(4, "a"): ended: exit status 1; starting it again in 365 ms
        601: refuse requests of a: ended: exit status 1
        30700: say Info Function("a"): scaled from 1 to 0: quiet for 30s
        30700: take requests of a
        30702: say Info Function("a"): scaled from 0 to 1: requests that wait: 1, busy handlers: 0.0
        30702: start worker 5 of a, version 1
        "#,
    );
}

#[test]
fn a_reload_brings_as_many_workers_as_the_load_has_asked_for() {
    let next = Reload {
        wanted: vec![scaled("a", (1, 4), 2)],
        new_gateway: false,
    };
    one_of(
        4,
        &[
            (10, pressed(3, 100, 1000)),
            (20, WorkerReady(2)),
            (30, next),
            (40, WorkerReady(3)),
            (41, pressed(3, 100, 1000)),
            (42, WorkerReady(4)),
            (43, GatewayServes(4)),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 3, busy handlers: 1.0
        10: start worker 2 of a, version 1
        20: say Info Worker(2, "a"): ready
        20: introduce worker 2
        20: snapshot 3 {"a": [1, 2]}
        30: start worker 3 of a, version 2
        30: start worker 4 of a, version 2
        40: say Info Worker(3, "a"): ready
        40: introduce worker 3
        41: say Info Function("a"): scaled from 2 to 4: requests that wait: 3, busy handlers: 1.0
        41: start worker 5 of a, version 1
        41: start worker 6 of a, version 1
        42: say Info Worker(4, "a"): ready
        42: introduce worker 4
        42: commit
        42: kill worker 5
        42: kill worker 6
        42: snapshot 4 {"a": [3, 4]}
        42: start worker 7 of a, version 2
        42: start worker 8 of a, version 2
        43: withdraw worker 1
        43: drain worker 1 within 30s
        43: withdraw worker 2
        43: drain worker 2 within 30s
        43: served
        "#,
    );
}

#[test]
fn another_range_is_kept_to_from_the_commit_on() {
    let next = Reload {
        wanted: vec![scaled("a", (1, 2), 1)],
        new_gateway: false,
    };
    one_of(
        4,
        &[
            (10, pressed(100, 100, 1000)),
            (15, WorkerReady(2)),
            (20, pressed(100, 100, 1000)),
            (25, WorkerReady(3)),
            (30, next),
            (31, GatewayServes(5)),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 100, busy handlers: 1.0
        10: start worker 2 of a, version 1
        15: say Info Worker(2, "a"): ready
        15: introduce worker 2
        15: snapshot 3 {"a": [1, 2]}
        20: say Info Function("a"): scaled from 2 to 4: requests that wait: 100, busy handlers: 1.0
        20: start worker 3 of a, version 1
        20: start worker 4 of a, version 1
        25: say Info Worker(3, "a"): ready
        25: introduce worker 3
        25: snapshot 4 {"a": [1, 2, 3]}
        30: commit
        30: kill worker 4
        30: snapshot 5 {"a": [1, 2]}
        31: withdraw worker 3
        31: drain worker 3 within 30s
        31: served
        "#,
    );
}

#[test]
fn a_load_that_goes_on_keeps_its_workers_through_a_reload() {
    let next = Reload {
        wanted: vec![scaled("a", (1, 4), 2)],
        new_gateway: false,
    };
    one_of(
        2,
        &[
            (10, pressed(10, 100, 1000)),
            (20, WorkerReady(2)),
            (120, pressed(0, 100, 2000)),
            (200, next),
            (210, WorkerReady(3)),
            (211, WorkerReady(4)),
            (212, GatewayServes(4)),
            (40_000, Timer),
            (80_000, Timer),
        ],
        r#"
        10: say Info Function("a"): scaled from 1 to 2: requests that wait: 10, busy handlers: 1.0
        10: start worker 2 of a, version 1
        20: say Info Worker(2, "a"): ready
        20: introduce worker 2
        20: snapshot 3 {"a": [1, 2]}
        200: start worker 3 of a, version 2
        200: start worker 4 of a, version 2
        210: say Info Worker(3, "a"): ready
        210: introduce worker 3
        211: say Info Worker(4, "a"): ready
        211: introduce worker 4
        211: commit
        211: snapshot 4 {"a": [3, 4]}
        212: withdraw worker 1
        212: drain worker 1 within 30s
        212: withdraw worker 2
        212: drain worker 2 within 30s
        212: served
        40000: say Warn Worker(1, "a"): did not end in time; killed
        40000: kill worker 1
        40000: say Warn Worker(2, "a"): did not end in time; killed
        40000: kill worker 2
        "#,
    );
}
