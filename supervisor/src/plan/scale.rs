//! The number of workers of a function: it grows while requests wait or all workers are busy, and shrinks after a quiet
//! time. Also decides whether requests are refused because no worker can be started.

use std::time::{Duration, Instant};

use super::{Function, Phase, Platform, Role, Worker};
use crate::action::{About, Action, Level};
use crate::event::Pressure;

/// A queue that the present workers empty within this time needs no further worker: starting one takes as long.
const PATIENCE: Duration = Duration::from_millis(10);

/// Time in which a longer queue should be emptied. The number of added workers follows from it.
const HORIZON: Duration = Duration::from_millis(50);

/// Average load of the handlers, in thousandths, from which a worker is added if requests had to wait.
const BUSY: u32 = 900;

/// Maximum average load of the remaining handlers, in thousandths, if workers are removed. Below [`BUSY`], because
/// removed workers would otherwise be started again.
const EASY: u32 = 700;

/// Failed starts in a row from which the requests of a function are refused. A single failure may be an accident.
const FAILED_STARTS: u32 = 2;

/// The load of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// How many workers the last reported load needs.
    need: u32,
    /// The highest number that was needed since `since`.
    peak: u32,
    /// Since when fewer workers would have been enough.
    since: Instant,
}

impl Load {
    pub(super) fn new(now: Instant) -> Load {
        Load {
            need: 0,
            peak: 0,
            since: now,
        }
    }

    /// The same load, judged only from `now` on.
    pub(super) fn from(self, now: Instant) -> Load {
        Load {
            peak: self.need,
            since: now,
            ..self
        }
    }
}

impl Function {
    /// Whether its number of workers follows its load.
    pub(super) fn scales(&self) -> bool {
        self.wanted.scale.min < self.wanted.scale.max
    }

    /// When workers may be removed.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        let scale = &self.wanted.scale;
        (self.target > scale.min).then(|| self.load.since + scale.idle)
    }

    /// `target`, limited to what the function may have.
    pub(super) fn within(&self, target: u32) -> u32 {
        let scale = &self.wanted.scale;
        target.clamp(scale.min, scale.max)
    }

    /// Plans the start of missing workers for as soon as backoff allows; `have` workers exist already.
    pub(super) fn fill(&mut self, now: Instant, have: u32) {
        let at = self.hold.map_or(now, |hold| hold.max(now));
        let missing = self
            .target
            .saturating_sub(have + self.restarts.len() as u32);
        self.restarts.extend((0..missing).map(|_| at));
    }
}

/// How many workers to add for this load. `ready` workers serve already; `starting` ones will, and are subtracted.
fn more(pressure: &Pressure, concurrency: u32, ready: u32, starting: u32) -> u32 {
    let Pressure {
        waiting, service, ..
    } = *pressure;
    if ready == 0 {
        // How long a request takes is not known yet. The first worker shows it.
        return u32::from(pressure.busy > 0 && starting == 0);
    }
    let work = service * waiting;
    let by_queue = match work / ready > PATIENCE {
        true => {
            let workers = work.as_nanos().div_ceil(HORIZON.as_nanos());
            let all_at_once = waiting.div_ceil(concurrency);
            let workers = u32::try_from(workers).unwrap_or(u32::MAX);
            // At most double, to see the effect before more are added.
            workers.min(all_at_once).min(ready)
        }
        false => 0,
    };
    let all_the_time = pressure.busy >= BUSY * ready * concurrency;
    let by_time = u32::from(pressure.queued && all_the_time);
    by_queue.max(by_time).saturating_sub(starting)
}

/// How many workers this load needs, with some reserve.
fn need(pressure: &Pressure, concurrency: u32) -> u32 {
    pressure.busy.div_ceil(EASY * concurrency)
}

impl Platform {
    /// The number of current workers in any phase, without unhealthy ones.
    pub(super) fn workers_of(&self, function: &str) -> u32 {
        self.current(function).count() as u32
    }

    fn current(&self, function: &str) -> impl Iterator<Item = (u32, &Worker)> {
        let workers = self.workers.of(function);
        workers.filter(|(_, one)| one.role == Role::Current && !one.sick)
    }

    /// Handles a report of the gateway about the load of a function.
    pub(super) fn pressed(&mut self, now: Instant, pressure: &Pressure, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        let have = self.workers_of(&pressure.function);
        let workers = self.workers.of(&pressure.function);
        let ready = workers.filter(|(_, one)| one.serves()).count() as u32;
        let Some(function) = self.functions.get_mut(&pressure.function) else {
            return;
        };
        let concurrency = function.wanted.concurrency;
        let there = have + function.restarts.len() as u32;
        let more = more(pressure, concurrency, ready, there.saturating_sub(ready));
        let target = function.within(there.max(function.target) + more);
        let needed = need(pressure, concurrency);
        if target > function.target {
            let text = format!(
                "scaled from {} to {target}: requests that wait: {}, busy handlers: {}.{}",
                function.target,
                pressure.waiting,
                pressure.busy / 1000,
                pressure.busy % 1000 / 100,
            );
            let about = About::Function(pressure.function.clone());
            actions.push(Action::Say(Level::Info, about, text));
            function.target = target;
        }
        let all_needed = |need: u32| need >= function.target;
        let load = &mut function.load;
        if all_needed(needed) || all_needed(load.need) || pressure.waiting > 0 {
            load.since = now;
            load.peak = needed;
        }
        load.need = needed;
        load.peak = load.peak.max(needed);
        function.fill(now, have);
    }

    /// Resets the load after the gateway has been started: the new gateway has its own load, and refuses no requests
    /// yet.
    pub(super) fn forget_load(&mut self, now: Instant) {
        for function in self.functions.values_mut() {
            function.load = Load::new(now);
            function.refused = false;
        }
    }

    /// Removes workers that were not needed for the whole quiet time, the youngest first.
    pub(super) fn let_the_quiet_go(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        let mut surplus = Vec::new();
        for (name, function) in &mut self.functions {
            if function.quiet_at().is_none_or(|at| at > now) {
                continue;
            }
            let enough = function.within(function.load.peak);
            function.load.peak = function.load.need;
            function.load.since = now;
            if enough < function.target {
                let text = format!(
                    "scaled from {} to {enough}: quiet for {:?}",
                    function.target, function.wanted.scale.idle
                );
                let about = About::Function(name.clone());
                actions.push(Action::Say(Level::Info, about, text));
                function.target = enough;
                surplus.push(name.clone());
            }
        }
        if surplus.is_empty() {
            return;
        }
        let mut left = false;
        for name in surplus {
            left |= self.let_go(&name, actions);
        }
        if left && self.gateway_runs() {
            actions.push(self.next_snapshot());
        } else if left {
            self.drain_replaced(now, u32::MAX, actions);
        }
    }

    /// Removes the workers that a function has beyond its target, the youngest first. Returns whether one of them
    /// served.
    pub(super) fn let_go(&mut self, name: &str, actions: &mut Vec<Action>) -> bool {
        let have = self.workers_of(name);
        let Some(function) = self.functions.get_mut(name) else {
            return false;
        };
        // Planned starts are cancelled first.
        let room = function.target.saturating_sub(have) as usize;
        function.restarts.truncate(room);
        let many = have.saturating_sub(function.target) as usize;
        let last = self.snapshot + 1;
        let of_it = self.current(name);
        let mut going: Vec<(bool, u32)> = of_it
            .map(|(id, one)| (one.phase == Phase::Ready, id))
            .collect();
        // Then workers that are not ready, then the others.
        going.sort_by_key(|(ready, id)| (*ready, std::cmp::Reverse(*id)));
        let mut served = false;
        for (_, id) in going.into_iter().take(many) {
            let Some(worker) = self.workers.get_mut(id) else {
                continue;
            };
            worker.role = Role::Surplus;
            match worker.phase {
                Phase::Ready => {
                    worker.phase = Phase::Replaced(last);
                    served = true;
                }
                Phase::Starting(_) | Phase::Proving(_) => self.kill_worker(id, actions),
                Phase::Replaced(_) | Phase::Stopping(_) | Phase::Killed => {}
            }
        }
        served
    }

    /// Makes the gateway refuse the requests of functions whose workers cannot be started, so that the requests do not
    /// wait.
    pub(super) fn refuse_what_cannot_start(&mut self, actions: &mut Vec<Action>) {
        if self.stopping || !self.gateway_runs() {
            return;
        }
        let workers = &self.workers;
        for (name, function) in &mut self.functions {
            let comes = |(_, one): (u32, &Worker)| {
                one.role == Role::Current
                    && matches!(
                        one.phase,
                        Phase::Starting(_) | Phase::Proving(_) | Phase::Ready
                    )
            };
            let refused = function.target > 0
                && function.failed_starts >= FAILED_STARTS
                && !workers.of(name).any(comes);
            if refused != function.refused {
                function.refused = refused;
                let why = refused.then(|| function.last_error.clone().unwrap_or_default());
                actions.push(Action::Refuse(name.clone(), why));
            }
        }
    }
}
