//! Many workers, which are not started all at once.

use super::*;

/// Passes an event to the platform after this many milliseconds. Returns the ids of the workers that are started.
fn started(
    platform: &mut Platform,
    begin: Instant,
    millis: u64,
    event: Event,
) -> std::ops::Range<u32> {
    let actions = platform.step(begin + Duration::from_millis(millis), event);
    let mut ids = actions.iter().filter_map(|action| match action {
        Action::StartWorker(id, ..) => Some(*id),
        _ => None,
    });
    let Some(first) = ids.next() else {
        return 0..0;
    };
    first..first + 1 + ids.count() as u32
}

fn many() -> Vec<Wanted> {
    let name = |number| format!("f{number:03}");
    (0..100).map(|number| fixed(&name(number), 1, 1)).collect()
}

#[test]
fn workers_come_up_a_few_at_a_time_and_each_that_is_ready_makes_room() {
    let begin = Instant::now();
    let mut platform = Platform::new(&many(), 1, begin);
    assert_eq!(started(&mut platform, begin, 0, Begin), 1..17);
    assert_eq!(started(&mut platform, begin, 1, GatewayStarted), 0..0);
    // Nothing is due before one of them is ready or counts as coming up no more, so the timer does not fire repeatedly.
    let later = begin + Duration::from_secs(1);
    assert_eq!(platform.deadline(), Some(later));
    assert_eq!(started(&mut platform, begin, 5, WorkerReady(3)), 17..18);
    let ended = WorkerEnded(1, "exit status 1".into());
    assert_eq!(started(&mut platform, begin, 6, ended), 18..19);
    // Fourteen of the first sixteen still come up.
    assert_eq!(platform.deadline(), Some(later));
    assert_eq!(started(&mut platform, begin, 998, Timer), 0..0);
    // After HELLO, a worker does not count as coming up, whatever it waits for.
    assert_eq!(started(&mut platform, begin, 999, WorkerUp(5)), 19..20);
    assert_eq!(started(&mut platform, begin, 1000, Timer), 20..33);
    assert_eq!(
        platform.deadline(),
        Some(begin + Duration::from_millis(1005)),
        "the two that followed"
    );
}

#[test]
fn who_has_waited_longest_is_first() {
    let begin = Instant::now();
    let mut platform = Platform::new(&many(), 1, begin);
    let _ = platform.step(begin, Begin);
    let at = |millis| begin + Duration::from_millis(millis);
    let ended = WorkerEnded(1, "exit status 1".into());
    let actions = platform.step(at(10), ended);
    let next = Action::StartWorker(17, "f016".to_owned(), 1);
    assert!(actions.contains(&next), "{actions:?}");
    assert_eq!(platform.waiting_for().len(), 100);
}

/// A reload from no functions to many. At 10 ms, the first of their workers are started.
fn in_a_reload(begin: Instant) -> Platform {
    let mut platform = Platform::new(&[], 1, begin);
    let _ = platform.step(begin, Begin);
    let _ = platform.step(begin, GatewayStarted);
    let reload = Reload {
        wanted: many(),
        new_gateway: false,
    };
    assert_eq!(started(&mut platform, begin, 10, reload), 1..17);
    platform
}

#[test]
fn the_workers_of_a_reload_come_up_a_few_at_a_time_and_are_served_together() {
    let begin = Instant::now();
    let mut platform = in_a_reload(begin);
    let mut snapshots = Vec::new();
    for id in 1..=100 {
        for action in platform.step(begin + Duration::from_millis(20), WorkerReady(id)) {
            if let Action::Snapshot(_, workers) = action {
                snapshots.push((id, workers.len()));
            }
        }
    }
    assert_eq!(snapshots, [(100, 100)]);
}

#[test]
fn a_reload_that_is_given_up_starts_no_more_of_its_workers() {
    let begin = Instant::now();
    let mut platform = in_a_reload(begin);
    let ended = WorkerEnded(1, "exit status 1".into());
    assert_eq!(started(&mut platform, begin, 11, ended), 0..0);
    assert_eq!(started(&mut platform, begin, 5000, Timer), 0..0);
}

#[test]
fn those_that_start_well_do_not_wait_for_those_that_do_not() {
    let begin = Instant::now();
    let mut platform = Platform::new(&many(), 1, begin);
    let _ = platform.step(begin, Begin);
    let _ = platform.step(begin, GatewayStarted);
    // No worker becomes ready: each is killed at its deadline, and started again.
    let mut millis = 0;
    while platform
        .functions
        .values()
        .any(|one| one.failed_starts == 0)
    {
        millis += 250;
        let at = begin + Duration::from_millis(millis);
        for action in platform.step(at, Timer) {
            if let Action::KillWorker(id) = action {
                let _ = platform.step(at, WorkerEnded(id, "killed".to_owned()));
            }
        }
        assert!(millis < 60_000);
    }
    let wanted: Vec<Wanted> = ["good", "better"].map(|name| fixed(name, 1, 1)).into();
    let good = wanted.iter().chain(&many()).cloned().collect();
    let reload = Reload {
        wanted: good,
        new_gateway: false,
    };
    let mut due = Vec::new();
    for event in std::iter::once(reload).chain(std::iter::repeat_n(Timer, 8)) {
        millis += 250;
        for action in platform.step(begin + Duration::from_millis(millis), event) {
            if let Action::StartWorker(_, name, _) = action {
                due.push(name);
            }
        }
    }
    assert_eq!(due[..2], ["good", "better"], "{due:?}");
    let again = due.len() - 2;
    assert!(
        (1..=3 * 8).contains(&again),
        "as many of the others as there is room for: {again}"
    );
}
