//! How things stand, for who asks.

use std::time::Instant;

use super::Runner;
use crate::api::{ProcessStatus, Status};
use crate::status;

impl Runner {
    pub(super) fn status(&self) -> Status {
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
