//! A reload's effects: files are read again, and what was decided about it is told to whoever asked.

use std::io;
use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Runner;
use crate::accept::{Accepted, RunError, accept, wanted};
use crate::action::{About, Level};
use crate::api::Answer;
use crate::event::Event;
use crate::journal::Record;
use crate::listen::{Listener, bind};
use crate::load::LoadError;

/// A reload under way, from its acceptance until the gateway serves it.
#[derive(Default)]
pub(super) struct Reload {
    /// What comes next, until it is committed.
    pub(super) next: Option<(Accepted, Vec<Listener>)>,
    pub(super) under_way: bool,
    /// Who wants to know how it ends.
    askers: Vec<oneshot::Sender<Answer>>,
    /// Somebody asked meanwhile: the files are read again after it.
    again: Option<Vec<oneshot::Sender<Answer>>>,
}

impl Reload {
    /// Nothing more is reloaded; dropping those who asked tells them that the platform is stopping.
    pub(super) fn never_again() -> Reload {
        Reload {
            under_way: true,
            ..Reload::default()
        }
    }
}

impl Runner {
    /// Reads the manifest again. If it is good, what it needs is made ready beside what is served.
    pub(super) fn reload(&mut self, askers: Vec<oneshot::Sender<Answer>>) {
        if self.reload.under_way {
            self.reload.again.get_or_insert_default().extend(askers);
            return;
        }
        self.reload.askers = askers;
        let accepted = accept(
            &self.options,
            &self.held,
            &self.journal,
            Some(&self.accepted),
        )
        .and_then(|accepted| {
            let wanted = &accepted.manifest.gateway.listen;
            // Kept ones are taken over; new ones are bound before anything is changed.
            let old = self
                .listeners
                .iter()
                .map(Listener::try_clone)
                .collect::<io::Result<_>>();
            let old = old.map_err(|source| RunError::SetUp {
                what: "a listener",
                source,
            })?;
            Ok((bind(wanted, old)?, accepted))
        });
        match accepted {
            Ok((_, accepted)) if accepted.is_same(&self.accepted) => {
                self.watch.know(accepted.stamps);
                let functions = self.accepted.manifest.functions.len();
                self.reloaded(&Answer::Reloaded { functions });
            }
            Ok((listeners, accepted)) => {
                let places = |all: &[Listener]| -> Vec<_> {
                    all.iter().map(|one| (one.scheme, one.address)).collect()
                };
                let new_gateway = places(&listeners) != places(&self.listeners)
                    || accepted.threads != self.accepted.threads;
                let wanted = wanted(&accepted);
                self.reload.next = Some((accepted, listeners));
                self.reload.under_way = true;
                self.journal
                    .add(&Record::new("supervisor", "info", "reloading"));
                self.step(Event::Reload {
                    wanted,
                    new_gateway,
                });
            }
            Err(error) => {
                let missing = match &error {
                    RunError::Load(LoadError::Binary { path, .. }) => Some(path.clone()),
                    _ => None,
                };
                self.refused(with_causes(&error), missing);
            }
        }
    }

    /// From here on what was next is what is served.
    pub(super) fn commit(&mut self) {
        let Some((accepted, listeners)) = self.reload.next.take() else {
            return;
        };
        if let Some(gateway) = &self.gateway
            && accepted.certificates.list != self.accepted.certificates.list
            && let Err(error) = gateway.show(&accepted.certificates.list)
        {
            let text = format!("it keeps the old certificates: {error}");
            self.say(Level::Error, About::Gateway, text);
        }
        if let Err(error) = self.doorman.stand_at(accepted.metrics.as_ref()) {
            let text = format!("metrics are not served over TCP: {error}");
            self.say(Level::Error, About::Gateway, text);
        }
        self.watch.know(accepted.stamps.clone());
        self.accepted = accepted;
        self.listeners = listeners;
        self.generation += 1;
    }

    pub(super) fn abandon(&mut self, why: String) {
        self.reload.next = None;
        self.refused(why, None);
    }

    fn refused(&mut self, why: String, missing: Option<PathBuf>) {
        // Until a file changes again there is no reason to try again.
        self.watch.refuse(missing);
        self.journal.add(&Record::new(
            "supervisor",
            "error",
            format!("not reloaded: {why}"),
        ));
        self.reloaded(&Answer::Failed(why));
    }

    /// A reload has ended; another may have been asked for meanwhile.
    pub(super) fn reloaded(&mut self, answer: &Answer) {
        self.reload.under_way = false;
        if let Answer::Reloaded { functions } = answer {
            let text = format!(
                "generation {} is served; functions: {functions}",
                self.generation
            );
            self.journal.add(&Record::new("supervisor", "info", text));
        }
        for asker in self.reload.askers.drain(..) {
            let _ = asker.send(answer.clone());
        }
        if let Some(askers) = self.reload.again.take() {
            self.reload(askers);
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
