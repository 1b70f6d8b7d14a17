//! The orderly stop of the platform, and the kill of processes that exceed their time.

use std::time::{Duration, Instant};

use super::{GATEWAY_STOP_TIME, GRACE, Gateway, Phase, Platform, WORKER_STOP_TIME};
use crate::action::{About, Action, Level};

impl Platform {
    pub(super) fn kill_the_late(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if matches!(self.gateway, Gateway::Stopping(at) if at <= now) {
            self.gateway = Gateway::Killed;
            let text = "did not end in time; killed".to_owned();
            actions.push(Action::Say(Level::Warn, About::Gateway, text));
            actions.push(Action::KillGateway);
        }
        let runs = self.gateway_runs();
        let late: Vec<(u32, String)> = self
            .workers
            .iter()
            .filter_map(|(id, worker)| match worker.phase {
                Phase::Starting(at) if at <= now => {
                    let time = said(worker.start_time);
                    Some((id, format!("was not ready within {time}; killed")))
                }
                Phase::Proving(at) if at <= now && runs => {
                    let (time, why) = (said(worker.start_time), worker.complaint.as_deref());
                    let why = why.unwrap_or("no answer");
                    Some((id, format!("was not well within {time}: {why}; killed")))
                }
                Phase::Stopping(at) if at <= now => {
                    Some((id, "did not end in time; killed".to_owned()))
                }
                Phase::Starting(_)
                | Phase::Stopping(_)
                | Phase::Proving(_)
                | Phase::Ready
                | Phase::Replaced(_)
                | Phase::Killed => None,
            })
            .collect();
        for (id, text) in late {
            self.blame(id, Level::Warn, text, actions);
            self.kill_worker(id, actions);
        }
    }

    /// Stops the gateway first, which closes its listeners and finishes its requests, and then the workers. The second
    /// call kills all of them.
    pub(super) fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stopping {
            if self.gateway != Gateway::Down(None) && self.gateway != Gateway::Killed {
                self.gateway = Gateway::Killed;
                actions.push(Action::KillGateway);
            }
            for id in self.workers.ids() {
                self.kill_worker(id, actions);
            }
            return;
        }
        self.stopping = true;
        self.next = None;
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

    pub(super) fn stop_workers_without_gateway(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.stopping || self.gateway != Gateway::Down(None) {
            return;
        }
        for (id, worker) in self.workers.iter_mut() {
            if matches!(
                worker.phase,
                Phase::Starting(_) | Phase::Proving(_) | Phase::Ready | Phase::Replaced(_)
            ) {
                worker.phase = Phase::Stopping(now + WORKER_STOP_TIME + GRACE);
                actions.push(Action::StopWorker(id, WORKER_STOP_TIME));
            }
        }
    }
}

/// A duration for messages, in seconds or milliseconds.
fn said(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    }
}
