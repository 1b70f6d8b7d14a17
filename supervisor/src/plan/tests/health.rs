//! Golden traces of functions with health checks.

use super::*;
use hearth_protocol::link::Verdict::{Busy, Sick, Well};

fn asked(name: &str, version: u32) -> Wanted {
    Wanted {
        health: Some(Health {
            path: "/healthz".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            failures: 2,
        }),
        ..fixed(name, 1, version)
    }
}

fn sick() -> hearth_protocol::link::Verdict {
    Sick("GET /healthz answered 503".to_owned())
}

#[test]
fn a_worker_serves_once_it_is_well_and_is_asked_again_after_the_interval() {
    play(
        &[asked("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (3, WorkerHealth(1, sick())),
            (103, Timer),
            (104, WorkerHealth(1, Well)),
            (1103, Timer),
            (1104, Timer),
            (1105, WorkerHealth(1, Busy)),
            (2105, Timer),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: introduce worker 1
        2: probe worker 1: /healthz within 500ms
        3: say Warn Worker(1, "a"): not well yet: GET /healthz answered 503
        103: probe worker 1: /healthz within 500ms
        104: say Info Worker(1, "a"): ready
        104: snapshot 2 {"a": [1]}
        104: settled
        1104: probe worker 1: /healthz within 500ms
        2105: probe worker 1: /healthz within 500ms
        "#,
    );
}

#[test]
fn one_that_is_never_well_is_killed_when_its_time_to_start_is_over() {
    play(
        &[asked("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (3, WorkerHealth(1, sick())),
            (10_000, Timer),
            (10_001, WorkerEnded(1, "signal 9".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: introduce worker 1
        2: probe worker 1: /healthz within 500ms
        3: say Warn Worker(1, "a"): not well yet: GET /healthz answered 503
        10000: say Warn Worker(1, "a"): was not well within 10 s: GET /healthz answered 503; killed
        10000: kill worker 1
        10001: say Warn Worker(1, "a"): ended: signal 9; starting it again
        10001: start worker 2 of a, version 1
        "#,
    );
}

#[test]
fn a_sick_one_serves_until_another_is_well() {
    play(
        &[asked("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (3, WorkerHealth(1, Well)),
            (1003, Timer),
            (1004, WorkerHealth(1, sick())),
            (2004, Timer),
            (2005, WorkerHealth(1, sick())),
            (2010, WorkerReady(2)),
            (2011, WorkerHealth(2, Well)),
            (2012, GatewayServes(3)),
            (2020, WorkerEnded(1, "exit status 0".into())),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: introduce worker 1
        2: probe worker 1: /healthz within 500ms
        3: say Info Worker(1, "a"): ready
        3: snapshot 2 {"a": [1]}
        3: settled
        1003: probe worker 1: /healthz within 500ms
        2004: probe worker 1: /healthz within 500ms
        2005: say Error Worker(1, "a"): not well 2 times in a row: GET /healthz answered 503
        2005: start worker 2 of a, version 1
        2010: introduce worker 2
        2010: probe worker 2: /healthz within 500ms
        2011: say Info Worker(2, "a"): ready
        2011: snapshot 3 {"a": [2]}
        2012: withdraw worker 1
        2012: drain worker 1 within 30s
        2020: say Info Worker(1, "a"): ended: exit status 0; it had been replaced
        "#,
    );
}

#[test]
fn one_bad_answer_among_good_ones_is_forgiven() {
    let mut events = vec![(0, Begin), (1, GatewayStarted), (2, WorkerReady(1))];
    for (number, verdict) in [Well, sick(), Well, sick(), Busy, Well]
        .into_iter()
        .enumerate()
    {
        events.push((3 + number as u64, WorkerHealth(1, verdict)));
    }
    play(
        &[asked("a", 1)],
        &events,
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: introduce worker 1
        2: probe worker 1: /healthz within 500ms
        3: say Info Worker(1, "a"): ready
        3: snapshot 2 {"a": [1]}
        3: settled
        "#,
    );
}

#[test]
fn a_reload_waits_for_its_workers_to_be_well() {
    let next = Reload {
        wanted: vec![asked("a", 2)],
        new_gateway: false,
    };
    play(
        &[fixed("a", 1, 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (10, next.clone()),
            (20, WorkerReady(2)),
            (21, WorkerHealth(2, sick())),
            (10_010, Timer),
            (10_011, WorkerEnded(2, "signal 9".into())),
            (10_020, next),
            (10_030, WorkerReady(3)),
            (10_031, WorkerHealth(3, Well)),
            (10_032, GatewayServes(3)),
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
        20: introduce worker 2
        20: probe worker 2: /healthz within 500ms
        21: say Warn Worker(2, "a"): not well yet: GET /healthz answered 503
        10010: say Warn Worker(2, "a"): was not well within 10 s: GET /healthz answered 503; killed
        10010: withdraw worker 2
        10010: kill worker 2
        10010: abandon: a: was not well within 10 s: GET /healthz answered 503; killed
        10011: say Info Worker(2, "a"): ended: signal 9; it had been replaced
        10020: start worker 3 of a, version 2
        10030: introduce worker 3
        10030: probe worker 3: /healthz within 500ms
        10031: say Info Worker(3, "a"): ready
        10031: commit
        10031: snapshot 3 {"a": [3]}
        10031: probe worker 3: /healthz within 500ms
        10032: withdraw worker 1
        10032: drain worker 1 within 30s
        10032: served
        "#,
    );
}

#[test]
fn another_gateway_asks_anew() {
    play(
        &[asked("a", 1)],
        &[
            (0, Begin),
            (1, GatewayStarted),
            (2, WorkerReady(1)),
            (3, GatewayEnded("signal 9".into())),
            (4, Timer),
            (5, GatewayStarted),
            (6, WorkerHealth(1, Well)),
        ],
        r#"
        0: start gateway
        0: start worker 1 of a, version 1
        1: snapshot 1 {}
        2: introduce worker 1
        2: probe worker 1: /healthz within 500ms
        3: say Error Gateway: ended: signal 9; starting it again
        3: start gateway
        5: introduce worker 1
        5: snapshot 2 {}
        5: probe worker 1: /healthz within 500ms
        6: say Info Worker(1, "a"): ready
        6: snapshot 3 {"a": [1]}
        6: settled
        "#,
    );
}
