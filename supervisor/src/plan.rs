//! What the supervisor decides. Pure: events in, actions out; the runner in [`crate::run`] does them.
//!
//! Knows workers and the gateway by their phases only: no process, no socket, no clock. Time comes
//! with each event. The traces in this file's tests are the specification.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// For so long a worker may take from its start to READY.
pub const START_TIME: Duration = Duration::from_secs(10);

/// For so long the gateway may finish what it has begun when it is stopped.
pub const GATEWAY_STOP_TIME: Duration = Duration::from_secs(5);

/// For so long a worker may take to end once it is told to.
pub const WORKER_STOP_TIME: Duration = Duration::from_secs(2);

/// Between the end of somebody's time and its being killed: for news that is already under way.
const GRACE: Duration = Duration::from_millis(250);

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The platform begins.
    Begin,
    /// The gateway's process runs.
    GatewayStarted,
    /// The gateway serves this snapshot.
    GatewayServes(u32),
    /// The gateway ended, or could not be started: how.
    GatewayEnded(String),
    /// A worker said READY.
    WorkerReady(u32),
    /// A worker said START_FAILED and is about to end: why.
    WorkerGaveUp(u32, String),
    /// A worker broke the protocol: how.
    WorkerFailed(u32, String),
    /// A worker's process ended, or could not be started: how.
    WorkerEnded(u32, String),
    /// Somebody asked to stop; the second time it is urgent.
    Stop,
    /// The time that [`Platform::deadline`] named has come.
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the gateway's process.
    StartGateway,
    /// Start a worker of this function.
    StartWorker(u32, String),
    /// Give this worker and the gateway data sockets to each other.
    Introduce(u32),
    /// Tell the gateway to give this worker nothing new.
    Withdraw(u32),
    /// Send the gateway a snapshot with this number and these workers.
    Snapshot(u32, BTreeMap<String, Vec<u32>>),
    /// Ask the gateway to end.
    StopGateway(Duration),
    /// Ask a worker to end.
    StopWorker(u32, Duration),
    /// Kill the gateway.
    KillGateway,
    /// Kill a worker and what it started.
    KillWorker(u32),
    /// Say this in the log.
    Say(Level, About, String),
    /// Every function has a worker that is ready, or has shown that it has none.
    Settled,
    /// All has ended.
    End,
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Not as it should be, and dealt with.
    Warn,
    /// Somebody should look.
    Error,
}

/// What a line of the log is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The gateway.
    Gateway,
    /// A worker of a function.
    Worker(u32, String),
    /// A function as a whole.
    Function(String),
}

/// What is wanted of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Workers to keep running.
    pub workers: u32,
}

/// The whole platform as the supervisor sees it.
#[derive(Debug)]
pub struct Platform {
    functions: BTreeMap<String, Function>,
    workers: BTreeMap<u32, Worker>,
    gateway: Gateway,
    gateway_backoff: Backoff,
    next_worker: u32,
    snapshot: u32,
    stopping: bool,
    settled: bool,
    chance: u32,
}

#[derive(Debug)]
struct Function {
    backoff: Backoff,
    /// When to start the workers that are missing.
    restarts: Vec<Instant>,
    restarted: u32,
    last_error: Option<String>,
}

#[derive(Debug)]
struct Worker {
    function: String,
    phase: Phase,
    since: Instant,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Started, not READY yet; killed at this time.
    Starting(Instant),
    /// Answers requests.
    Ready,
    /// Told to end; killed at this time.
    Stopping(Instant),
    /// Killed, not gone yet.
    Killed,
}

#[derive(Debug, PartialEq, Eq)]
enum Gateway {
    /// Not running; started at this time.
    Down(Option<Instant>),
    /// Since then.
    Running(Instant),
    Stopping(Instant),
    Killed,
}

/// A function as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionView {
    /// Deaths in a row are many.
    pub crash_loop: bool,
    /// Workers that were started again so far.
    pub restarted: u32,
    /// Why the last one that failed did.
    pub last_error: Option<String>,
    /// Its workers: id, phase, since when in it.
    pub workers: Vec<(u32, Phase, Instant)>,
}

impl Platform {
    /// A platform that has not begun. Worker ids go on from `next_worker` and snapshots from
    /// `snapshot`; `chance` seeds the jitter of restarts.
    pub fn new(
        wanted: &[Wanted],
        next_worker: u32,
        snapshot: u32,
        chance: u32,
        now: Instant,
    ) -> Self {
        let functions = wanted
            .iter()
            .map(|one| {
                let function = Function {
                    backoff: Backoff::default(),
                    restarts: vec![now; one.workers as usize],
                    restarted: 0,
                    last_error: None,
                };
                (one.name.clone(), function)
            })
            .collect();
        Platform {
            functions,
            workers: BTreeMap::new(),
            gateway: Gateway::Down(Some(now)),
            gateway_backoff: Backoff::default(),
            next_worker,
            snapshot,
            stopping: false,
            settled: false,
            chance: chance | 1,
        }
    }

    /// The ids that a successor goes on from.
    pub fn counters(&self) -> (u32, u32) {
        (self.next_worker, self.snapshot)
    }

    /// Takes an event and decides.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => {}
            Event::Timer => self.kill_the_late(now, &mut actions),
            Event::GatewayStarted => {
                self.gateway = Gateway::Running(now);
                actions.extend(self.ready_workers().map(Action::Introduce));
                actions.push(self.next_snapshot());
            }
            Event::GatewayServes(_) => {}
            Event::GatewayEnded(how) => self.gateway_ended(now, &how, &mut actions),
            Event::WorkerReady(id) => self.worker_ready(now, id, &mut actions),
            Event::WorkerGaveUp(id, why) => self.worker_gave_up(now, id, why, &mut actions),
            Event::WorkerFailed(id, why) => self.worker_failed(id, why, &mut actions),
            Event::WorkerEnded(id, how) => self.worker_ended(now, id, &how, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
        }
        self.start_what_is_due(now, &mut actions);
        self.stop_workers_without_gateway(now, &mut actions);
        self.settle(&mut actions);
        if self.stopping && self.workers.is_empty() && self.gateway == Gateway::Down(None) {
            actions.push(Action::End);
        }
        actions
    }

    /// When [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let gateway = match self.gateway {
            Gateway::Down(at) => at,
            Gateway::Stopping(at) => Some(at),
            Gateway::Running(_) | Gateway::Killed => None,
        };
        let workers = self
            .workers
            .values()
            .filter_map(|worker| match worker.phase {
                Phase::Starting(at) | Phase::Stopping(at) => Some(at),
                Phase::Ready | Phase::Killed => None,
            });
        let restarts = self
            .functions
            .values()
            .flat_map(|function| function.restarts.iter().copied());
        workers.chain(restarts).chain(gateway).min()
    }

    /// A function as `status` shows it.
    pub fn view(&self, function: &str) -> Option<FunctionView> {
        let state = self.functions.get(function)?;
        let workers = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.function == function)
            .map(|(id, worker)| (*id, worker.phase, worker.since))
            .collect();
        Some(FunctionView {
            crash_loop: state.backoff.is_crash_loop(),
            restarted: state.restarted,
            last_error: state.last_error.clone(),
            workers,
        })
    }

    /// Functions that have no worker that is ready.
    pub fn waiting_for(&self) -> Vec<&str> {
        let ready = |name: &str| {
            self.workers
                .values()
                .any(|one| one.function == name && one.phase == Phase::Ready)
        };
        self.functions
            .keys()
            .map(String::as_str)
            .filter(|name| !ready(name))
            .collect()
    }

    fn gateway_runs(&self) -> bool {
        matches!(self.gateway, Gateway::Running(_))
    }

    fn ready_workers(&self) -> impl Iterator<Item = u32> {
        let ready = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.phase == Phase::Ready);
        ready.map(|(id, _)| *id)
    }

    fn next_snapshot(&mut self) -> Action {
        self.snapshot += 1;
        let mut workers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for id in self.ready_workers() {
            workers
                .entry(self.workers[&id].function.clone())
                .or_default()
                .push(id);
        }
        Action::Snapshot(self.snapshot, workers)
    }

    fn worker_ready(&mut self, now: Instant, id: u32, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if !matches!(worker.phase, Phase::Starting(_)) {
            return;
        }
        worker.phase = Phase::Ready;
        worker.since = now;
        let about = About::Worker(id, worker.function.clone());
        actions.push(Action::Say(Level::Info, about, "ready".to_owned()));
        if self.gateway_runs() {
            actions.push(Action::Introduce(id));
            actions.push(self.next_snapshot());
        }
    }

    fn worker_gave_up(&mut self, now: Instant, id: u32, why: String, actions: &mut Vec<Action>) {
        self.blame(id, why, actions);
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.phase != Phase::Killed
        {
            worker.phase = Phase::Stopping(now + WORKER_STOP_TIME);
        }
    }

    fn worker_failed(&mut self, id: u32, why: String, actions: &mut Vec<Action>) {
        self.blame(id, why, actions);
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.phase != Phase::Killed
        {
            worker.phase = Phase::Killed;
            actions.push(Action::KillWorker(id));
        }
    }

    /// Says what a worker did, and keeps it for `status`.
    fn blame(&mut self, id: u32, why: String, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let about = About::Worker(id, worker.function.clone());
        actions.push(Action::Say(Level::Error, about, why.clone()));
        if let Some(function) = self.functions.get_mut(&worker.function) {
            function.last_error = Some(why);
        }
    }

    fn worker_ended(&mut self, now: Instant, id: u32, how: &str, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        let about = About::Worker(id, worker.function.clone());
        if self.gateway_runs() && worker.phase == Phase::Ready {
            actions.push(Action::Withdraw(id));
            actions.push(self.next_snapshot());
        }
        if self.stopping {
            return;
        }
        let chance = self.roll();
        let Some(function) = self.functions.get_mut(&worker.function) else {
            return;
        };
        let lived = match worker.phase {
            Phase::Ready => now.saturating_duration_since(worker.since),
            Phase::Starting(_) | Phase::Stopping(_) | Phase::Killed => Duration::ZERO,
        };
        let before = function.backoff.is_crash_loop();
        let delay = function.backoff.died(lived, chance);
        function.restarts.push(now + delay);
        function.restarted += 1;
        // Of one that gave up, or was killed for a reason, the reason is known already.
        if matches!(worker.phase, Phase::Starting(_) | Phase::Ready) {
            function.last_error = Some(format!("ended: {how}"));
        }
        actions.push(Action::Say(
            Level::Warn,
            about,
            format!("ended: {how}; {}", again(delay)),
        ));
        if function.backoff.is_crash_loop() && !before {
            let failures = function.backoff.failures();
            let text = format!("crash loop: {failures} deaths in a row; the other functions go on");
            actions.push(Action::Say(
                Level::Error,
                About::Function(worker.function),
                text,
            ));
        }
    }

    fn gateway_ended(&mut self, now: Instant, how: &str, actions: &mut Vec<Action>) {
        if self.stopping {
            self.gateway = Gateway::Down(None);
            return;
        }
        let lived = match self.gateway {
            Gateway::Running(since) => now.saturating_duration_since(since),
            Gateway::Down(_) | Gateway::Stopping(_) | Gateway::Killed => Duration::ZERO,
        };
        let chance = self.roll();
        let delay = self.gateway_backoff.died(lived, chance);
        self.gateway = Gateway::Down(Some(now + delay));
        let text = format!("ended: {how}; {}", again(delay));
        actions.push(Action::Say(Level::Error, About::Gateway, text));
    }

    fn start_what_is_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        if matches!(self.gateway, Gateway::Down(Some(at)) if at <= now) {
            self.gateway = Gateway::Down(None);
            actions.push(Action::StartGateway);
        }
        for (name, function) in &mut self.functions {
            let due = function.restarts.iter().filter(|at| **at <= now).count();
            function.restarts.retain(|at| *at > now);
            for _ in 0..due {
                self.next_worker += 1;
                let phase = Phase::Starting(now + START_TIME);
                let worker = Worker {
                    function: name.clone(),
                    phase,
                    since: now,
                };
                self.workers.insert(self.next_worker, worker);
                actions.push(Action::StartWorker(self.next_worker, name.clone()));
            }
        }
    }

    fn kill_the_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.gateway, Gateway::Stopping(at) if at <= now) {
            self.gateway = Gateway::Killed;
            let text = "did not end in time; killed".to_owned();
            actions.push(Action::Say(Level::Warn, About::Gateway, text));
            actions.push(Action::KillGateway);
        }
        for (id, worker) in &mut self.workers {
            let text = match worker.phase {
                Phase::Starting(at) if at <= now => {
                    format!("was not ready within {} s; killed", START_TIME.as_secs())
                }
                Phase::Stopping(at) if at <= now => "did not end in time; killed".to_owned(),
                Phase::Starting(_) | Phase::Stopping(_) | Phase::Ready | Phase::Killed => continue,
            };
            worker.phase = Phase::Killed;
            if let Some(function) = self.functions.get_mut(&worker.function) {
                function.last_error = Some(text.clone());
            }
            let about = About::Worker(*id, worker.function.clone());
            actions.push(Action::Say(Level::Warn, about, text));
            actions.push(Action::KillWorker(*id));
        }
    }

    /// First the gateway ends, which closes the doors and lets running requests end, then the workers.
    fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            if self.gateway != Gateway::Down(None) && self.gateway != Gateway::Killed {
                self.gateway = Gateway::Killed;
                actions.push(Action::KillGateway);
            }
            for (id, worker) in &mut self.workers {
                if worker.phase != Phase::Killed {
                    worker.phase = Phase::Killed;
                    actions.push(Action::KillWorker(*id));
                }
            }
            return;
        }
        self.stopping = true;
        for function in self.functions.values_mut() {
            function.restarts.clear();
        }
        match self.gateway {
            Gateway::Running(_) => {
                self.gateway = Gateway::Stopping(now + GATEWAY_STOP_TIME + GRACE);
                actions.push(Action::StopGateway(GATEWAY_STOP_TIME));
            }
            Gateway::Down(_) => self.gateway = Gateway::Down(None),
            Gateway::Stopping(_) | Gateway::Killed => {}
        }
    }

    fn stop_workers_without_gateway(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.stopping || self.gateway != Gateway::Down(None) {
            return;
        }
        for (id, worker) in &mut self.workers {
            if matches!(worker.phase, Phase::Starting(_) | Phase::Ready) {
                worker.phase = Phase::Stopping(now + WORKER_STOP_TIME + GRACE);
                actions.push(Action::StopWorker(*id, WORKER_STOP_TIME));
            }
        }
    }

    fn settle(&mut self, actions: &mut Vec<Action>) {
        if self.settled || self.stopping || !self.gateway_runs() {
            return;
        }
        let hopeless = |name: &str| self.functions[name].backoff.failures() > 1;
        self.settled = self.waiting_for().into_iter().all(hopeless);
        if self.settled {
            actions.push(Action::Settled);
        }
    }

    /// The next number of a small generator (xorshift32): jitter needs no better.
    fn roll(&mut self) -> u32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.chance
    }
}

fn again(delay: Duration) -> String {
    match delay {
        Duration::ZERO => "starting it again".to_owned(),
        delay => format!("starting it again in {} ms", delay.as_millis()),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::StartGateway => write!(f, "start gateway"),
            Action::StartWorker(id, function) => write!(f, "start worker {id} of {function}"),
            Action::Introduce(id) => write!(f, "introduce worker {id}"),
            Action::Withdraw(id) => write!(f, "withdraw worker {id}"),
            Action::Snapshot(number, workers) => write!(f, "snapshot {number} {workers:?}"),
            Action::StopGateway(time) => write!(f, "stop gateway within {time:?}"),
            Action::StopWorker(id, time) => write!(f, "stop worker {id} within {time:?}"),
            Action::KillGateway => write!(f, "kill gateway"),
            Action::KillWorker(id) => write!(f, "kill worker {id}"),
            Action::Say(level, about, text) => write!(f, "say {level:?} {about:?}: {text}"),
            Action::Settled => write!(f, "settled"),
            Action::End => write!(f, "end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;

    /// Plays `events`, each at its millisecond, and compares the trace of actions.
    fn check(functions: &[(&str, u32)], events: &[(u64, Event)], expect: &str) {
        let start = Instant::now();
        let wanted: Vec<Wanted> = functions
            .iter()
            .map(|(name, workers)| Wanted {
                name: (*name).to_owned(),
                workers: *workers,
            })
            .collect();
        let mut platform = Platform::new(&wanted, 0, 0, 1, start);
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
            0: start worker 1 of a
            0: start worker 2 of a
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
            0: start worker 1 of a
            1: snapshot 1 {}
            2: say Info Worker(1, "a"): ready
            2: introduce worker 1
            2: snapshot 2 {"a": [1]}
            2: settled
            50: withdraw worker 1
            50: snapshot 3 {}
            50: say Warn Worker(1, "a"): ended: signal 9; starting it again
            50: start worker 2 of a
            60: say Info Worker(2, "a"): ready
            60: introduce worker 2
            60: snapshot 4 {"a": [2]}
            70: withdraw worker 2
            70: snapshot 5 {}
            70: say Warn Worker(2, "a"): ended: signal 9; starting it again in 100 ms
            300: start worker 3 of a
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
        let wanted = [("bad", 1), ("good", 1)].map(|(name, workers)| Wanted {
            name: name.to_owned(),
            workers,
        });
        let mut platform = Platform::new(&wanted, 0, 0, 1, start);
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
            0: start worker 1 of a
            1: snapshot 1 {}
            10000: say Warn Worker(1, "a"): was not ready within 10 s; killed
            10000: kill worker 1
            10001: say Warn Worker(1, "a"): ended: signal 9; starting it again
            10001: start worker 2 of a
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
            ],
            r#"
            0: start gateway
            0: start worker 1 of a
            1: snapshot 1 {}
            5: say Error Worker(1, "a"): no key
            6: say Warn Worker(1, "a"): ended: exit status 1; starting it again
            6: start worker 2 of a
            7: say Error Worker(2, "a"): no key
            8: say Warn Worker(2, "a"): ended: exit status 1; starting it again in 100 ms
            8: settled
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
            0: start worker 1 of a
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
            0: start worker 1 of a
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
}
