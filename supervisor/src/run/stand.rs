//! Collects the status of the platform.

use std::time::Instant;

use super::Runner;
use crate::action::{About, Level};
use crate::api::{ProcessStatus, Status};
use crate::cgroup::Cgroups;
use crate::status;

impl Runner {
    /// Logs which workers have reached a limit since the last check. Hardly any worker has, so the counters of a worker
    /// are read only if the platform's control group has counted an event, or if the worker's processor time is
    /// limited.
    pub(super) fn look_at_limits(&self) {
        let news = self.machine.cgroups.as_ref().is_ok_and(Cgroups::has_news);
        for (id, worker) in &self.workers {
            if news || worker.process.throttles() {
                for text in worker.met() {
                    let about = About::Worker(*id, worker.function.clone());
                    self.say(Level::Warn, about, text);
                }
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        self.look_at_limits();
        let manifest = &self.accepted.manifest;
        let now = Instant::now();
        let worker_of = |id| self.workers.get(&id);
        let functions = manifest.functions.iter().map(|(name, one)| {
            let version = self
                .accepted
                .makes
                .get(name)
                .map_or(0, |(_, number)| *number);
            let view = self.platform.view(name);
            status::function((name, version), one, view, worker_of, now)
        });
        let mut status = Status {
            service: manifest.service.clone(),
            manifest: self.options.manifest.display().to_string(),
            generation: self.generation,
            version: self.kept.history.current,
            rolled_back: !self.of_file,
            listeners: status::listeners(&self.listeners),
            metrics: self
                .accepted
                .metrics
                .as_ref()
                .map(|door| door.address.to_string()),
            supervisor: ProcessStatus::of(Some(std::process::id())),
            gateway: ProcessStatus::of(self.gateway.as_ref().map(|one| one.process.pid())),
            connections: 0,
            functions: functions.collect(),
        };
        self.figures.fill(&mut status, now);
        status
    }
}
