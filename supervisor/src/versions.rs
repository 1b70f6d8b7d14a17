//! The history of accepted manifests: the last versions of the manifest and of each function, which version is served,
//! and where a rollback leads. Pure except for [`load`] and [`save`].
//!
//! A *version* is a whole accepted manifest. A *function release* (`Edition`) is the state of one function from a
//! version on: its part of the manifest, and its program. A version names one release of each of its functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use hearth_manifest::{Function, Manifest, parse};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::programs::{Program, hex};

/// Everything that is kept, except for the programs themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The number of the version that is served; 0 before the first.
    pub current: u64,
    /// The versions in the order of their numbers.
    pub versions: Vec<Version>,
    /// The releases of each function, in the order of their numbers.
    pub editions: BTreeMap<String, Vec<Edition>>,
}

/// An accepted manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The number, counted from 1.
    pub number: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// The whole manifest, as YAML.
    manifest: String,
    /// The number of each function's release.
    pub functions: BTreeMap<String, u64>,
    /// How it differs from what was served before.
    pub changes: Vec<Change>,
    /// The function whose rollback made this version. Such a version is not in the manifest's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// A release of one function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edition {
    /// The number of the version that introduced it.
    pub number: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// Its part of the manifest.
    function: serde_json::Value,
    /// Its program.
    pub program: Program,
}

/// A difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The function that changed; `None` for the gateway and the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// `added`, `removed`, `program`, `settings`, `program and settings`; `gateway` if `function` is `None`.
    pub what: String,
}

/// A manifest and the programs of its functions: all that is needed to serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The manifest as it was accepted.
    pub manifest: Manifest,
    /// The programs, by function.
    pub programs: BTreeMap<String, Program>,
}

/// Why a rollback is not possible.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No earlier version is kept.
    #[error("no version before {current} is kept; `hearth versions` lists those that are")]
    NoneBefore {
        /// The number of the version that is served.
        current: u64,
    },
    /// The version is not kept.
    #[error("version {0} is not kept; `hearth versions` lists those that are")]
    NotKept(u64),
    /// No function with this name is served.
    #[error("no function `{0}` is served")]
    NoFunction(String),
    /// No earlier release of the function is kept.
    #[error(
        "of `{function}` nothing before version {current} is kept; `hearth versions` lists what is"
    )]
    NoEditionBefore {
        /// The function.
        function: String,
        /// The version that introduced the function's current release.
        current: u64,
    },
    /// The stored function does not fit the rest of the manifest, or this program cannot read the stored manifest.
    #[error("it makes no manifest: {0}")]
    Manifest(String),
}

impl History {
    /// Records that the manifest in the file was accepted. If it has not changed since the last time, it keeps its
    /// number.
    pub fn accept(&mut self, whole: &Whole, time: u64, keep: usize) {
        let of_file = self
            .versions
            .iter()
            .rev()
            .find(|one| one.rolled_back.is_none());
        let known = of_file.map(|one| (one.number, self.whole(one.number)));
        if let Some((number, Ok(known))) = known
            && known == *whole
        {
            self.current = number;
            return;
        }
        let number = self.next_number();
        let mut functions = BTreeMap::new();
        for (name, function) in &whole.manifest.functions {
            let edition = Edition {
                number,
                time,
                function: serde_json::to_value(function).unwrap_or_default(),
                program: whole.programs[name].clone(),
            };
            let editions = self.editions.entry(name.clone()).or_default();
            let same = editions.last().filter(|last| {
                last.program == edition.program && last.function == edition.function
            });
            let same = same.map(|last| last.number);
            functions.insert(name.clone(), same.unwrap_or(number));
            if same.is_none() {
                editions.push(edition);
            }
        }
        self.add(number, time, whole, functions, None, keep);
    }

    /// Records that this version is served again.
    pub fn back(&mut self, number: u64) {
        self.current = number;
    }

    /// Records that this release of one function is served, with all other functions as before.
    pub fn back_one(
        &mut self,
        function: &str,
        edition: u64,
        whole: &Whole,
        time: u64,
        keep: usize,
    ) {
        let served = self.version(self.current);
        let mut functions = served.map(|one| one.functions.clone()).unwrap_or_default();
        functions.insert(function.to_owned(), edition);
        let number = self.next_number();
        let rolled_back = Some(function.to_owned());
        self.add(number, time, whole, functions, rolled_back, keep);
    }

    /// The version that a rollback of the whole manifest leads to: `to`, or the one before the current version.
    pub fn before(&self, to: Option<u64>) -> Result<u64, RollbackError> {
        let current = self.current;
        let mut numbers = self.versions.iter().rev().map(|one| one.number);
        match to {
            Some(to) => numbers
                .find(|one| *one == to)
                .ok_or(RollbackError::NotKept(to)),
            None => numbers
                .find(|one| *one < current)
                .ok_or(RollbackError::NoneBefore { current }),
        }
    }

    /// The release that a rollback of one function leads to: the one in version `to`, or the one before the current
    /// release.
    pub fn edition_before(&self, function: &str, to: Option<u64>) -> Result<u64, RollbackError> {
        let served = self
            .version(self.current)
            .and_then(|one| one.functions.get(function));
        let current = *served.ok_or_else(|| RollbackError::NoFunction(function.to_owned()))?;
        let mut editions = self.editions.get(function).into_iter().flatten().rev();
        let found = match to {
            Some(to) => editions.find(|one| one.number <= to),
            None => editions.find(|one| one.number < current),
        };
        match (found, to) {
            (Some(edition), _) => Ok(edition.number),
            (None, Some(to)) => Err(RollbackError::NotKept(to)),
            (None, None) => Err(RollbackError::NoEditionBefore {
                function: function.to_owned(),
                current,
            }),
        }
    }

    /// The manifest and the programs of a version.
    pub fn whole(&self, number: u64) -> Result<Whole, RollbackError> {
        let version = self.version(number).ok_or(RollbackError::NotKept(number))?;
        let manifest = parsed(&version.manifest)?;
        let program = |(name, edition): (&String, &u64)| {
            let edition = self.edition(name, *edition);
            let edition = edition.ok_or(RollbackError::NotKept(number))?;
            Ok((name.clone(), edition.program.clone()))
        };
        let programs = version
            .functions
            .iter()
            .map(program)
            .collect::<Result<_, _>>()?;
        Ok(Whole { manifest, programs })
    }

    /// The manifest and the programs that are served, with this release of one function.
    pub fn with_edition(&self, function: &str, number: u64) -> Result<Whole, RollbackError> {
        let mut whole = self.whole(self.current)?;
        let edition = self.edition(function, number);
        let edition = edition.ok_or(RollbackError::NotKept(number))?;
        let part: Function = serde_json::from_value(edition.function.clone())
            .map_err(|error| RollbackError::Manifest(error.to_string()))?;
        whole.manifest.functions.insert(function.to_owned(), part);
        // Parsed again, because another function may have its routes by now.
        whole.manifest = parsed(&whole.manifest.to_yaml())?;
        whole
            .programs
            .insert(function.to_owned(), edition.program.clone());
        Ok(whole)
    }

    /// All programs that a kept version or function release needs.
    pub fn programs(&self) -> BTreeSet<&Program> {
        self.editions
            .values()
            .flatten()
            .map(|one| &one.program)
            .collect()
    }

    /// Removes releases and versions whose programs are missing. Returns the numbers of the removed versions.
    pub fn forget_without(&mut self, is_there: impl Fn(&Program) -> bool) -> Vec<u64> {
        for editions in self.editions.values_mut() {
            editions.retain(|one| is_there(&one.program));
        }
        let editions = &self.editions;
        let complete = |version: &Version| {
            version.functions.iter().all(|(name, number)| {
                let mut kept = editions.get(name).into_iter().flatten();
                kept.any(|one| one.number == *number)
            })
        };
        let (kept, lost) = std::mem::take(&mut self.versions)
            .into_iter()
            .partition(complete);
        self.versions = kept;
        lost.iter().map(|one: &Version| one.number).collect()
    }

    /// The version with this number.
    pub fn version(&self, number: u64) -> Option<&Version> {
        self.versions.iter().find(|one| one.number == number)
    }

    fn edition(&self, function: &str, number: u64) -> Option<&Edition> {
        let mut editions = self.editions.get(function)?.iter();
        editions.find(|one| one.number == number)
    }

    fn next_number(&self) -> u64 {
        let editions = self.editions.values().flatten().map(|one| one.number);
        let versions = self.versions.iter().map(|one| one.number);
        versions
            .chain(editions)
            .chain([self.current])
            .max()
            .unwrap_or(0)
            + 1
    }

    fn add(
        &mut self,
        number: u64,
        time: u64,
        whole: &Whole,
        functions: BTreeMap<String, u64>,
        rolled_back: Option<String>,
        keep: usize,
    ) {
        let before = self.whole(self.current).ok();
        self.versions.push(Version {
            number,
            time,
            manifest: whole.manifest.to_yaml(),
            functions,
            changes: before.map_or(vec![], |before| changes(&before, whole)),
            rolled_back,
        });
        self.current = number;
        self.trim(keep);
    }

    /// Removes old versions and releases. Keeps the last versions from the file, the last from rollbacks, the one that
    /// is served, and of each function the last releases and those that a kept version needs.
    fn trim(&mut self, keep: usize) {
        let made = |one: &Version| one.rolled_back.is_some();
        let many = |made_so: bool| {
            self.versions
                .iter()
                .filter(|one| made(one) == made_so)
                .count()
        };
        let mut over = [false, true].map(|made_so| many(made_so).saturating_sub(keep));
        let current = self.current;
        self.versions.retain(|one| {
            let over = &mut over[usize::from(made(one))];
            let old = *over > 0;
            *over = over.saturating_sub(1);
            !old || one.number == current
        });
        let versions = &self.versions;
        self.editions.retain(|name, editions| {
            let last = editions.len().saturating_sub(keep);
            let needed = |number| {
                let mut versions = versions.iter();
                versions.any(|one| one.functions.get(name) == Some(&number))
            };
            let mut place = 0;
            editions.retain(|one| {
                place += 1;
                place > last || needed(one.number)
            });
            // Nothing is kept of a function that no version contains.
            editions.iter().any(|one| needed(one.number))
        });
    }
}

fn parsed(text: &str) -> Result<Manifest, RollbackError> {
    match parse("the kept manifest", text.as_bytes()) {
        Ok(parsed) => Ok(parsed.manifest),
        Err(faults) => Err(RollbackError::Manifest(faults.to_string())),
    }
}

/// How `after` differs from `before`.
pub fn changes(before: &Whole, after: &Whole) -> Vec<Change> {
    let (old, new) = (&before.manifest.functions, &after.manifest.functions);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let program = before.programs.get(name) != after.programs.get(name);
        let what = match (old.get(name), new.get(name)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) => match (program, old != new) {
                (false, false) => continue,
                (true, false) => "program",
                (false, true) => "settings",
                (true, true) => "program and settings",
            },
        };
        changes.push(Change {
            function: Some(name.clone()),
            what: what.to_owned(),
        });
    }
    let rest = |whole: &Whole| {
        (
            whole.manifest.service.clone(),
            whole.manifest.gateway.clone(),
        )
    };
    if rest(before) != rest(after) {
        changes.push(Change {
            function: None,
            what: "gateway".to_owned(),
        });
    }
    changes
}

/// Why the stored history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The checksum is wrong.
    #[error("it is torn: its checksum does not fit")]
    Torn,
    /// The contents cannot be parsed.
    #[error("it is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads the stored history, which is empty if the file does not exist.
pub fn load(path: &Path) -> Result<History, HistoryError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        text => text?,
    };
    // The first line is the checksum of the rest.
    let end = text.iter().position(|byte| *byte == b'\n');
    let (sum, rest) = text.split_at(end.ok_or(HistoryError::Torn)?);
    let rest = &rest[1..];
    match hex(digest(&SHA256, rest).as_ref()).as_bytes() == sum {
        true => Ok(serde_json::from_slice(rest)?),
        false => Err(HistoryError::Torn),
    }
}

/// Stores the history. The file is replaced as a whole.
pub fn save(path: &Path, history: &History) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(history)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    // The environments of functions may be confidential.
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    writeln!(file, "{}", hex(digest(&SHA256, &json).as_ref()))?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
