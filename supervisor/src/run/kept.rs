//! The versions on disk: read when the platform starts, and written whenever another version is served.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::{EditionStatus, VersionStatus, VersionsStatus};
use crate::journal::{Journal, Record};
use crate::programs::{ProgramError, Programs};
use crate::state::StateDir;
use crate::versions::{History, RollbackError, Whole, load, save};

/// The kept versions, and their programs.
pub(super) struct Kept {
    pub(super) programs: Programs,
    pub(super) history: History,
    path: PathBuf,
    count: usize,
}

/// Why a version cannot be served again.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Kept {
    /// Opens the versions of this state directory; `count` of them are kept. If their file cannot be read, it is
    /// renamed and the error is logged: the error must not prevent the platform from serving.
    pub(super) fn open(state: &StateDir, count: usize, journal: &Journal) -> Kept {
        let directory = state.versions();
        let path = directory.join("versions.json");
        let programs = Programs::of(directory.join("programs"));
        let warn = |text: String| journal.add(&Record::new("supervisor", "warn", text));
        let mut history = load(&path).unwrap_or_else(|error| {
            let aside = path.with_extension("torn");
            let _ = fs::rename(&path, &aside);
            warn(format!(
                "the kept versions cannot be read: {error}; put aside as {}, counting begins anew",
                aside.display()
            ));
            History::default()
        });
        for number in history.forget_without(|program| programs.is_there(program)) {
            warn(format!(
                "version {number} is forgotten: a program of it is not kept any more"
            ));
        }
        Kept {
            programs,
            history,
            path,
            count,
        }
    }

    /// Records that the manifest in the file has been accepted.
    pub(super) fn accept(&mut self, whole: &Whole, journal: &Journal) {
        let served = self.history.current;
        self.history.accept(whole, now(), self.count);
        if served != 0 && served != self.history.current {
            let text = format!(
                "version {} of the manifest, after {served}",
                self.history.current
            );
            journal.add(&Record::new("supervisor", "info", text));
        }
        self.save(journal);
    }

    /// Records that a version is served again.
    pub(super) fn back(&mut self, number: u64, journal: &Journal) {
        self.history.back(number);
        self.save(journal);
    }

    /// Records that a release of a function is served again.
    pub(super) fn back_one(
        &mut self,
        function: &str,
        edition: u64,
        whole: &Whole,
        journal: &Journal,
    ) {
        let count = self.count;
        self.history
            .back_one(function, edition, whole, now(), count);
        self.save(journal);
    }

    /// Returns `whole`, if its stored programs are unchanged.
    pub(super) fn checked(&self, whole: Whole) -> Result<Whole, KeptError> {
        for program in whole.programs.values() {
            self.programs.check(program)?;
        }
        Ok(whole)
    }

    /// Removes stored programs that no kept version needs.
    pub(super) fn tidy(&self) {
        self.programs.remove_others(&self.history.programs());
    }

    fn save(&self, journal: &Journal) {
        match save(&self.path, &self.history) {
            Ok(()) => self.tidy(),
            Err(error) => {
                // What is served does not depend on this file. Only the next start reads it.
                let text = format!("cannot write {}: {error}", self.path.display());
                journal.add(&Record::new("supervisor", "error", text));
            }
        }
    }

    /// The kept versions, as `hearth versions` shows them.
    pub(super) fn status(&self) -> VersionsStatus {
        let History {
            current,
            versions,
            editions,
        } = &self.history;
        let served = self.history.version(*current);
        let edition = |name: &String| served.and_then(|one| one.functions.get(name).copied());
        VersionsStatus {
            current: *current,
            versions: versions
                .iter()
                .map(|one| VersionStatus {
                    version: one.number,
                    time: one.time,
                    current: one.number == *current,
                    changes: one.changes.clone(),
                    rolled_back: one.rolled_back.clone(),
                    functions: one.functions.clone(),
                })
                .collect(),
            functions: editions
                .iter()
                .map(|(name, editions)| {
                    let editions = editions.iter().map(|one| EditionStatus {
                        version: one.number,
                        time: one.time,
                        current: edition(name) == Some(one.number),
                        sha256: one.program.sha256.clone(),
                    });
                    (name.clone(), editions.collect())
                })
                .collect(),
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
