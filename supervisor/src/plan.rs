//! The decisions of the supervisor. Pure: events in, actions out; the runner in [`crate::run`](mod@crate::run) carries
//! out the actions.
//!
//! The plan knows the gateway and the workers only by their phases. It has no access to processes, sockets or clocks:
//! the time comes with each event. The traces in the tests of this module are the specification.

mod health;
mod reload;
mod scale;
mod start;
mod stop;
mod view;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hearth_manifest::{Health, Scale};

use crate::action::{About, Action, Level};
use crate::backoff::Backoff;
use crate::event::Event;
use reload::Next;
use scale::Load;
pub use view::FunctionView;
pub use workers::Phase;
use workers::{Role, Worker, Workers};

/// How long the gateway may take to finish its requests once it is requested to stop.
pub const GATEWAY_STOP_TIME: Duration = Duration::from_secs(5);

/// How long a worker may take to end once it is requested to.
pub const WORKER_STOP_TIME: Duration = Duration::from_secs(2);

/// How long a replaced worker may take to finish its requests.
pub const DRAIN_TIME: Duration = Duration::from_secs(30);

/// Time between the deadline of a process and its kill, for a report of its end that is already on its way.
const GRACE: Duration = Duration::from_millis(250);

/// The settings of a function that the plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The name of the function.
    pub name: String,
    /// The version. A worker of another version cannot serve as a worker of this one.
    pub version: u32,
    /// The limits of its number of workers.
    pub scale: Scale,
    /// Handlers that may run at the same time in one worker.
    pub concurrency: u32,
    /// How long a worker may take from its start to READY.
    pub start_time: Duration,
    /// How the health of its workers is checked, if it is checked.
    pub health: Option<Health>,
}

/// The state of the platform, as the plan knows it.
#[derive(Debug)]
pub struct Platform {
    functions: BTreeMap<String, Function>,
    workers: Workers,
    gateway: Gateway,
    gateway_backoff: Backoff,
    next_worker: u32,
    snapshot: u32,
    stopping: bool,
    settled: bool,
    chance: u32,
    next: Option<Next>,
    /// The snapshot that contains a committed reload, until the gateway serves it.
    committed: Option<u32>,
}

#[derive(Debug)]
struct Function {
    wanted: Wanted,
    /// How many workers it should have now.
    target: u32,
    load: Load,
    backoff: Backoff,
    /// When to start each of the missing workers.
    restarts: Vec<Instant>,
    /// Missing workers are not started before this time.
    hold: Option<Instant>,
    /// Failed starts in a row: workers that ended without ever being ready.
    failed_starts: u32,
    /// Whether the gateway refuses its requests.
    refused: bool,
    restarted: u32,
    last_error: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Gateway {
    /// Not running. To be started at this time; `None` while it is being started, and if it is not to be started.
    Down(Option<Instant>),
    /// Running since this time.
    Running(Instant),
    Stopping(Instant),
    Killed,
}

impl Function {
    fn new(wanted: Wanted, target: u32, now: Instant) -> Function {
        Function {
            wanted,
            target,
            load: Load::new(now),
            backoff: Backoff::default(),
            restarts: vec![],
            hold: None,
            failed_starts: 0,
            refused: false,
            restarted: 0,
            last_error: None,
        }
    }
}

impl Platform {
    /// A platform before its first event. `chance` is the seed for the jitter of restarts.
    pub fn new(wanted: &[Wanted], chance: u32, now: Instant) -> Self {
        let functions = wanted
            .iter()
            .map(|one| {
                let mut function = Function::new(one.clone(), one.scale.min, now);
                function.restarts = vec![now; one.scale.min as usize];
                (one.name.clone(), function)
            })
            .collect();
        Platform {
            functions,
            workers: Workers::default(),
            gateway: Gateway::Down(Some(now)),
            gateway_backoff: Backoff::default(),
            next_worker: 0,
            snapshot: 0,
            stopping: false,
            settled: false,
            chance: chance | 1,
            next: None,
            committed: None,
        }
    }

    /// Handles an event, and returns the actions that it causes.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => {}
            Event::Timer => self.kill_the_late(now, &mut actions),
            Event::GatewayStarted => {
                self.gateway = Gateway::Running(now);
                let known = self.workers.iter().filter(|(_, one)| one.is_known());
                actions.extend(known.map(|(id, _)| Action::Introduce(id)));
                actions.push(self.next_snapshot());
                self.probe_all_anew(now);
                self.forget_load(now);
            }
            Event::Pressure(pressure) => self.pressed(now, &pressure, &mut actions),
            Event::GatewayServes(snapshot) => self.gateway_serves(now, snapshot, &mut actions),
            Event::GatewayEnded(how) => self.gateway_ended(now, &how, &mut actions),
            Event::WorkerUp(id) => {
                if let Some(worker) = self.workers.get_mut(id) {
                    worker.is_up = true;
                }
            }
            Event::WorkerReady(id) => self.worker_ready(now, id, &mut actions),
            Event::WorkerHealth(id, verdict) => self.examined(now, id, verdict, &mut actions),
            Event::WorkerGaveUp(id, why) => self.worker_gave_up(now, id, why, &mut actions),
            Event::WorkerFailed(id, why) => self.worker_failed(id, why, &mut actions),
            Event::WorkerEnded(id, how) => self.worker_ended(now, id, &how, &mut actions),
            Event::Reload {
                wanted,
                new_gateway,
            } => self.reload(now, wanted, new_gateway),
            Event::GiveUp(why) => self.abandon(why, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
        }
        self.commit_when_ready(now, &mut actions);
        self.let_the_quiet_go(now, &mut actions);
        self.start_what_is_due(now, &mut actions);
        self.probe_what_is_due(now, &mut actions);
        self.refuse_what_cannot_start(&mut actions);
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
                Phase::Proving(at) => Some(at).filter(|_| self.gateway_runs()),
                Phase::Ready | Phase::Replaced(_) | Phase::Killed => None,
            });
        let quiet = self.functions.values().filter_map(Function::quiet_at);
        let quiet = quiet.filter(|_| !self.stopping);
        let workers = workers.chain(self.next_probe());
        workers
            .chain(self.next_start())
            .chain(gateway)
            .chain(quiet)
            .min()
    }

    fn gateway_runs(&self) -> bool {
        matches!(self.gateway, Gateway::Running(_))
    }

    fn next_snapshot(&mut self) -> Action {
        self.snapshot += 1;
        let mut workers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (id, worker) in self.workers.iter() {
            if worker.serves() {
                let of_it = workers.entry(worker.function.clone()).or_default();
                of_it.push(id);
            }
        }
        Action::Snapshot(self.snapshot, workers)
    }

    fn worker_ready(&mut self, now: Instant, id: u32, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(id) else {
            return;
        };
        let Phase::Starting(until) = worker.phase else {
            return;
        };
        let proves = self.health_of(worker).is_some();
        if let Some(worker) = self.workers.get_mut(id).filter(|_| proves) {
            worker.phase = Phase::Proving(until);
            worker.since = now;
            worker.probe = Some(now);
        }
        if !proves {
            self.serves(now, id, actions);
        } else if self.gateway_runs() {
            actions.push(Action::Introduce(id));
        }
    }

    /// A worker can serve requests from now on. The gateway knows it already if its health had to be checked first.
    fn serves(&mut self, now: Instant, id: u32, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(id) else {
            return;
        };
        let known = worker.is_known();
        worker.phase = Phase::Ready;
        worker.since = now;
        worker.was_ready = true;
        let (name, current) = (worker.function.clone(), worker.role == Role::Current);
        let about = About::Worker(id, name.clone());
        actions.push(Action::Say(Level::Info, about, "ready".to_owned()));
        let runs = self.gateway_runs();
        if runs && !known {
            actions.push(Action::Introduce(id));
        }
        if current {
            if let Some(function) = self.functions.get_mut(&name) {
                function.failed_starts = 0;
            }
            self.retire_the_sick(&name);
            match runs {
                true => actions.push(self.next_snapshot()),
                false => self.drain_replaced(now, u32::MAX, actions),
            }
        }
    }

    fn worker_gave_up(&mut self, now: Instant, id: u32, why: String, actions: &mut Vec<Action>) {
        self.blame(id, Level::Error, why, actions);
        if let Some(worker) = self.workers.get_mut(id)
            && worker.phase != Phase::Killed
        {
            worker.phase = Phase::Stopping(now + WORKER_STOP_TIME);
        }
    }

    fn worker_failed(&mut self, id: u32, why: String, actions: &mut Vec<Action>) {
        self.blame(id, Level::Error, why, actions);
        self.kill_worker(id, actions);
    }

    /// Logs a fault of a worker. The fault of a current worker is kept for `status`; that of a reload's worker abandons
    /// the reload.
    fn blame(&mut self, id: u32, level: Level, why: String, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get(id) else {
            return;
        };
        let about = About::Worker(id, worker.function.clone());
        actions.push(Action::Say(level, about, why.clone()));
        match worker.role {
            Role::Current => {
                if let Some(function) = self.functions.get_mut(&worker.function) {
                    function.last_error = Some(why);
                }
            }
            Role::Next => {
                let why = format!("{}: {why}", worker.function);
                self.abandon(why, actions);
            }
            Role::Retired | Role::Surplus => {}
        }
    }

    fn worker_ended(&mut self, now: Instant, id: u32, how: &str, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.remove(id) else {
            return;
        };
        let about = About::Worker(id, worker.function.clone());
        let known = worker.is_known() || matches!(worker.phase, Phase::Replaced(_));
        if self.gateway_runs() && known {
            actions.push(Action::Withdraw(id, Some(how.to_owned())));
            if worker.serves() {
                actions.push(self.next_snapshot());
            }
        }
        if self.stopping {
            return;
        }
        match worker.role {
            Role::Current => {}
            Role::Next => {
                let why = format!("{}: a new worker ended: {how}", worker.function);
                return self.abandon(why, actions);
            }
            Role::Retired => {
                let text = format!("ended: {how}; it had been replaced");
                return actions.push(Action::Say(Level::Info, about, text));
            }
            Role::Surplus => {
                let text = format!("ended: {how}; it was no longer needed");
                return actions.push(Action::Say(Level::Info, about, text));
            }
        }
        let chance = self.roll();
        let others = self.workers_of(&worker.function);
        let Some(function) = self.functions.get_mut(&worker.function) else {
            return;
        };
        let lived = match worker.phase {
            Phase::Ready => now.saturating_duration_since(worker.since),
            Phase::Starting(_)
            | Phase::Proving(_)
            | Phase::Replaced(_)
            | Phase::Stopping(_)
            | Phase::Killed => Duration::ZERO,
        };
        let before = function.backoff.is_crash_loop();
        let delay = function.backoff.died(lived, chance);
        if !worker.was_ready {
            function.failed_starts += 1;
        }
        function.hold = Some(now + delay);
        let missing = others + (function.restarts.len() as u32) < function.target;
        if missing {
            function.restarts.push(now + delay);
            function.restarted += 1;
        }
        // If the worker sent START_FAILED or was killed, the reason is recorded already.
        if worker.is_known() || matches!(worker.phase, Phase::Starting(_)) {
            function.last_error = Some(format!("ended: {how}"));
        }
        let next = match missing {
            true => again(delay),
            false => "it is not needed any more".to_owned(),
        };
        actions.push(Action::Say(
            Level::Warn,
            about,
            format!("ended: {how}; {next}"),
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
        // With the gateway, its requests to replaced workers have ended.
        self.drain_replaced(now, u32::MAX, actions);
        if matches!(self.gateway, Gateway::Stopping(_) | Gateway::Killed) {
            self.gateway = Gateway::Down(Some(now));
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

    fn kill_worker(&mut self, id: u32, actions: &mut Vec<Action>) {
        if let Some(worker) = self.workers.get_mut(id)
            && worker.phase != Phase::Killed
        {
            worker.phase = Phase::Killed;
            actions.push(Action::KillWorker(id));
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

    /// The next number of a small random number generator (xorshift32), which is good enough for jitter.
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

#[cfg(test)]
mod tests;
