//! Carries out reloads and rollbacks: reads files again, and sends the result to the clients that wait for it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Runner;
use super::kept::Kept;
use crate::accept::{Accepted, RunError, accept, read, wanted};
use crate::action::{About, Level};
use crate::api::{Answer, RolledBack};
use crate::causes::with_causes;
use crate::event::Event;
use crate::journal::Record;
use crate::listen::{Listener, bind};
use crate::load::LoadError;
use crate::versions::{Change, changes};
use crate::watch::Stamps;

/// The goal of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// Serve the manifest's file.
    File,
    /// Serve the same manifest and programs, with the present secrets and certificates.
    Same,
    /// Serve a kept version.
    Version(u64),
    /// Serve the same as now, except for a function: its name, and the number of its release.
    Edition(String, u64),
}

/// The clients that wait for the result.
type Askers = Vec<oneshot::Sender<Answer>>;

/// A reload, from the acceptance of its manifest until the gateway serves it, and those that wait behind it.
#[derive(Default)]
pub(super) struct Reload {
    /// The accepted manifest and its listeners, until they are committed.
    pub(super) next: Option<(Accepted, Vec<Listener>)>,
    pub(super) under_way: bool,
    /// What it is to serve.
    wish: Option<Wish>,
    /// The stamps of the manifest's file and its programs, from when they were read for it.
    sources: Stamps,
    /// How it differs from what was served.
    changes: Vec<Change>,
    askers: Askers,
    /// Reloads that were requested meanwhile, in order.
    later: VecDeque<(Wish, Askers)>,
}

impl Reload {
    /// The state of a platform that stops: no reload starts any more. It replaces the previous state, whose clients are
    /// dropped and so get the answer that the platform is stopping.
    pub(super) fn never_again() -> Reload {
        Reload {
            under_way: true,
            ..Reload::default()
        }
    }
}

impl Runner {
    /// Reads the manifest again. If it is valid, its workers become ready beside those that serve.
    pub(super) fn reload(&mut self, askers: Askers) {
        self.change(Wish::File, askers);
    }

    /// Serves an earlier version of the whole manifest, or of one function. A reload that has not been committed is
    /// abandoned.
    pub(super) fn roll_back(
        &mut self,
        function: Option<String>,
        to: Option<u64>,
        asker: oneshot::Sender<Answer>,
    ) {
        let history = &self.kept.history;
        let wish = match function {
            None => history.before(to).map(Wish::Version),
            Some(name) => {
                let edition = history.edition_before(&name, to);
                edition.map(|edition| Wish::Edition(name, edition))
            }
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err(error) => {
                let _ = asker.send(Answer::Failed(error.to_string()));
                return;
            }
        };
        // Reloads that wait would undo the rollback.
        let why = "a rollback was asked for";
        for asker in self.reload.later.drain(..).flat_map(|(_, askers)| askers) {
            let _ = asker.send(Answer::Failed(why.to_owned()));
        }
        if self.reload.next.is_some() {
            self.reload.later.push_front((wish, vec![asker]));
            return self.step(Event::GiveUp(why.to_owned()));
        }
        self.change(wish, vec![asker]);
    }

    /// Checks whether a watched file has changed, and reloads if so.
    pub(super) fn look(&mut self) {
        if self.reload.under_way {
            return;
        }
        let (file, values) = (self.watch.look(), self.watch_values.look());
        let (what, wish) = match (file, values) {
            (false, false) => return,
            // After a rollback, only a change of the manifest's file or its programs returns to the file.
            (false, true) if !self.of_file => ("a secret or a certificate has changed", Wish::Same),
            (false, true) => ("a secret or a certificate has changed", Wish::File),
            (true, _) => ("the manifest or a program has changed", Wish::File),
        };
        self.journal.add(&Record::new("supervisor", "info", what));
        self.change(wish, vec![]);
    }

    fn change(&mut self, wish: Wish, askers: Askers) {
        if self.reload.under_way {
            let later = &mut self.reload.later;
            match later.back_mut().filter(|(other, _)| *other == wish) {
                Some((_, others)) => others.extend(askers),
                None => later.push_back((wish, askers)),
            }
            return;
        }
        self.reload.askers = askers;
        self.reload.wish = Some(wish.clone());
        match self.prepare_next(&wish) {
            Ok((listeners, accepted)) => {
                self.reload.changes = changes(&self.accepted.whole, &accepted.whole);
                if accepted.is_same(&self.accepted) {
                    self.accepted.whole = accepted.whole;
                    self.watch_values.know(accepted.stamps);
                    self.book();
                    return self.served();
                }
                let places = |all: &[Listener]| -> Vec<_> {
                    all.iter().map(|one| (one.scheme, one.address)).collect()
                };
                let new_gateway = places(&listeners) != places(&self.listeners)
                    || accepted.threads != self.accepted.threads;
                let wanted = wanted(&accepted);
                self.reload.next = Some((accepted, listeners));
                self.reload.under_way = true;
                let text = match &wish {
                    Wish::File | Wish::Same => "reloading".to_owned(),
                    Wish::Version(number) => format!("going back to version {number}"),
                    Wish::Edition(name, number) => {
                        format!("going back to {name} of version {number}")
                    }
                };
                self.journal.add(&Record::new("supervisor", "info", text));
                self.step(Event::Reload {
                    wanted,
                    new_gateway,
                });
            }
            Err(error) => {
                let missing = match error.downcast_ref() {
                    Some(RunError::Load(LoadError::Binary { path, .. })) => Some(path.clone()),
                    _ => None,
                };
                self.refused(with_causes(&*error), missing);
            }
        }
    }

    /// Reads and checks everything that the reload needs. Nothing that is served changes.
    fn prepare_next(
        &mut self,
        wish: &Wish,
    ) -> Result<(Vec<Listener>, Accepted), Box<dyn std::error::Error>> {
        let Kept { history, .. } = &self.kept;
        let whole = match wish {
            Wish::File => {
                let programs = &mut self.kept.programs;
                let (whole, sources) = read(&self.options, programs, &self.journal)?;
                self.reload.sources = sources;
                whole
            }
            Wish::Same => self.accepted.whole.clone(),
            Wish::Version(number) => self.kept.checked(history.whole(*number)?)?,
            Wish::Edition(name, number) => {
                self.kept.checked(history.with_edition(name, *number)?)?
            }
        };
        let before = Some(&self.accepted);
        let accepted = accept(whole, &self.options, &self.held, &self.journal, before)?;
        // Listeners that stay are reused. New ones are bound before anything changes.
        let old = self.listeners.iter().map(Listener::try_clone);
        let old = old.collect::<io::Result<_>>();
        let old = old.map_err(|source| RunError::SetUp {
            what: "a listener",
            source,
        })?;
        let listeners = bind(&accepted.manifest.gateway.listen, old).map_err(RunError::Listen)?;
        Ok((listeners, accepted))
    }

    /// Makes the accepted manifest the served one.
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
        self.watch_values.know(accepted.stamps.clone());
        self.accepted = accepted;
        self.listeners = listeners;
        self.generation += 1;
        self.book();
    }

    /// Records which version is served now.
    fn book(&mut self) {
        let (whole, journal) = (&self.accepted.whole, &self.journal);
        match &self.reload.wish {
            Some(Wish::File) => {
                self.watch.know(std::mem::take(&mut self.reload.sources));
                self.kept.accept(whole, journal);
                self.of_file = true;
            }
            Some(Wish::Version(number)) => {
                self.kept.back(*number, journal);
                self.of_file = false;
            }
            Some(Wish::Edition(name, number)) => {
                self.kept.back_one(name, *number, whole, journal);
                self.of_file = false;
            }
            Some(Wish::Same) | None => {}
        }
    }

    /// The gateway serves the reload: sends the result to the clients that wait for it.
    pub(super) fn served(&mut self) {
        let answer = match &self.reload.wish {
            Some(Wish::Version(_) | Wish::Edition(..)) => Answer::RolledBack(RolledBack {
                version: self.kept.history.current,
                changes: std::mem::take(&mut self.reload.changes),
            }),
            Some(Wish::File | Wish::Same) | None => Answer::Reloaded {
                functions: self.accepted.manifest.functions.len(),
            },
        };
        self.reloaded(&answer);
    }

    pub(super) fn abandon(&mut self, why: String) {
        self.reload.next = None;
        self.refused(why, None);
    }

    fn refused(&mut self, why: String, missing: Option<PathBuf>) {
        // Only a changed file is a reason to try again.
        if self.reload.wish == Some(Wish::File) {
            self.watch.refuse(missing);
        }
        self.watch_values.refuse(None);
        self.kept.tidy();
        let what = match self.reload.wish {
            Some(Wish::Version(_) | Wish::Edition(..)) => "not rolled back",
            Some(Wish::File | Wish::Same) | None => "not reloaded",
        };
        let text = format!("{what}: {why}");
        self.journal.add(&Record::new("supervisor", "error", text));
        self.reloaded(&Answer::Failed(why));
    }

    /// Ends a reload, and starts the next one that waits.
    fn reloaded(&mut self, answer: &Answer) {
        self.reload.under_way = false;
        self.reload.wish = None;
        let functions = self.accepted.manifest.functions.len();
        if !matches!(answer, Answer::Failed(_)) {
            let text = format!(
                "generation {} is served, version {}; functions: {functions}",
                self.generation, self.kept.history.current
            );
            self.journal.add(&Record::new("supervisor", "info", text));
        }
        for asker in self.reload.askers.drain(..) {
            let _ = asker.send(answer.clone());
        }
        if let Some((wish, askers)) = self.reload.later.pop_front() {
            self.change(wish, askers);
        }
    }
}
