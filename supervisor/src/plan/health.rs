//! The health of workers, for functions whose manifest sets `health`. A new worker must pass a probe before it serves
//! requests. A worker that becomes unhealthy keeps serving until another one can replace it.

use std::time::{Duration, Instant};

use hearth_manifest::Health;
use hearth_protocol::link::Verdict;

use super::{Phase, Platform, Role, Worker};
use crate::action::{About, Action, Level};

/// Interval between probes of a worker that has not passed one yet. It may still be warming up.
const PROVE: Duration = Duration::from_millis(100);

impl Platform {
    /// How the health of this worker is checked, if it is checked.
    pub(super) fn health_of(&self, worker: &Worker) -> Option<&Health> {
        match worker.role {
            Role::Next => self.next.as_ref()?.health_of(&worker.function),
            Role::Current => self.functions.get(&worker.function)?.wanted.health.as_ref(),
            Role::Retired | Role::Surplus => None,
        }
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        if self.stopping || !self.gateway_runs() {
            return None;
        }
        let known = self.workers.values().filter(|worker| worker.is_known());
        known.filter_map(|worker| worker.probe).min()
    }

    /// Probes all workers again after the gateway has been started: results of probes by the previous gateway will not
    /// arrive. A worker that has not passed a probe yet gets its whole start time again.
    pub(super) fn probe_all_anew(&mut self, now: Instant) {
        for worker in self.workers.values_mut().filter(|one| one.is_known()) {
            worker.probe = Some(now);
            if let Phase::Proving(until) = &mut worker.phase {
                *until = now + worker.start_time;
            }
        }
    }

    pub(super) fn probe_what_is_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.next_probe().is_none_or(|at| at > now) {
            return;
        }
        let due = |worker: &Worker| worker.is_known() && worker.probe.is_some_and(|at| at <= now);
        let due: Vec<(u32, Option<Health>)> = self
            .workers
            .iter()
            .filter(|(_, one)| due(one))
            .map(|(id, one)| (id, self.health_of(one).cloned()))
            .collect();
        for (id, health) in due {
            // One probe at a time: the next one is due some time after the result of this one.
            if let Some(worker) = self.workers.get_mut(id) {
                worker.probe = None;
            }
            if let Some(Health { path, timeout, .. }) = health {
                actions.push(Action::Probe(id, path, timeout));
            }
        }
    }

    /// Probes all workers that serve, because a reload may have changed or added their health check.
    pub(super) fn probe_by_what_is_wanted(&mut self, now: Instant) {
        for worker in self.workers.values_mut().filter(|one| one.serves()) {
            worker.probe = Some(now);
        }
    }

    /// Handles the result of a probe.
    pub(super) fn examined(
        &mut self,
        now: Instant,
        id: u32,
        verdict: Verdict,
        actions: &mut Vec<Action>,
    ) {
        let asked = self.workers.get(id).filter(|one| one.is_known());
        let Some(worker) = asked.filter(|_| !self.stopping) else {
            return;
        };
        let Some(health) = self.health_of(worker).cloned() else {
            return;
        };
        let Some(worker) = self.workers.get_mut(id) else {
            return;
        };
        let proving = matches!(worker.phase, Phase::Proving(_));
        let again = match (&verdict, proving) {
            (Verdict::Sick(_) | Verdict::Busy, true) => PROVE,
            _ => health.interval,
        };
        worker.probe = Some(now + again);
        match verdict {
            Verdict::Well => {
                worker.bad = 0;
                if proving {
                    self.serves(now, id, actions);
                }
            }
            Verdict::Busy => {}
            Verdict::Sick(why) if proving => {
                // The first failure is logged: it explains why a start takes long, or why it fails.
                if worker.bad == 0 {
                    let about = About::Worker(id, worker.function.clone());
                    let text = format!("not well yet: {why}");
                    actions.push(Action::Say(Level::Warn, about, text));
                }
                worker.bad += 1;
                worker.complaint = Some(why);
            }
            Verdict::Sick(why) => {
                worker.bad += 1;
                if worker.bad >= health.failures && !worker.sick {
                    self.fell_sick(now, id, &why, actions);
                }
            }
        }
    }

    /// A worker that serves has become unhealthy. It is to be replaced, and serves until then.
    fn fell_sick(&mut self, now: Instant, id: u32, why: &str, actions: &mut Vec<Action>) {
        let chance = self.roll();
        let Some(worker) = self.workers.get_mut(id) else {
            return;
        };
        worker.sick = true;
        let lived = now.saturating_duration_since(worker.since);
        let (name, current) = (worker.function.clone(), worker.role == Role::Current);
        let text = format!("not well {} times in a row: {why}", worker.bad);
        self.blame(id, Level::Error, text, actions);
        if !current {
            return;
        }
        let have = self.workers_of(&name);
        let Some(function) = self.functions.get_mut(&name) else {
            return;
        };
        let delay = function.backoff.died(lived, chance);
        function.hold = Some(now + delay);
        function.restarted += 1;
        function.fill(now, have);
    }

    /// Retires unhealthy workers that others have replaced. The next snapshot does not contain them.
    pub(super) fn retire_the_sick(&mut self, name: &str) {
        let Some(function) = self.functions.get(name) else {
            return;
        };
        let serving = self.workers.of(name).filter(|(_, one)| one.serves());
        let (sick, well): (Vec<_>, Vec<_>) = serving.partition(|(_, one)| one.sick);
        let room = (function.target as usize).saturating_sub(well.len());
        let surplus: Vec<u32> = sick.into_iter().skip(room).map(|(id, _)| id).collect();
        for id in surplus {
            if let Some(worker) = self.workers.get_mut(id) {
                worker.role = Role::Retired;
                worker.phase = Phase::Replaced(self.snapshot + 1);
            }
        }
    }
}
