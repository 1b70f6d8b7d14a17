//! What was accepted: the last versions of the manifest and of each function, which one is served, and
//! where a rollback leads. Pure but for [`load`] and [`save`].
//!
//! A *version* is a whole accepted manifest. An *edition* is what one function was from a version on:
//! its part of the manifest and its program. Versions name the editions they are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use hearth_manifest::{Function, Manifest, parse};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::programs::{Program, hex};

/// All that is kept, but for the programs themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What is served; 0 before there is anything.
    pub current: u64,
    /// In order of their numbers.
    pub versions: Vec<Version>,
    /// By function, in order of their numbers.
    pub editions: BTreeMap<String, Vec<Edition>>,
}

/// A manifest as it was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Counted from 1.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// In full, as YAML.
    manifest: String,
    /// The edition of each function.
    pub functions: BTreeMap<String, u64>,
    /// In what it differs from what was served before.
    pub changes: Vec<Change>,
    /// It was made by rolling this function back, and is in no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// What one function was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edition {
    /// The version it came with.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// Its part of the manifest.
    function: serde_json::Value,
    /// Its program.
    pub program: Program,
}

/// A difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose; without it, it is the gateway's or the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// `added`, `removed`, `program`, `settings`, `program and settings`.
    pub what: String,
}

/// A manifest and the programs of its functions: what can be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// As it was accepted.
    pub manifest: Manifest,
    /// By function.
    pub programs: BTreeMap<String, Program>,
}

/// Why there is nothing to roll back to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// None before is kept.
    #[error("no version before {current} is kept; `hearth versions` lists those that are")]
    NoneBefore {
        /// What is served.
        current: u64,
    },
    /// This one is not kept.
    #[error("version {0} is not kept; `hearth versions` lists those that are")]
    NotKept(u64),
    /// No such function is served.
    #[error("no function `{0}` is served")]
    NoFunction(String),
    /// Of this function none before is kept.
    #[error(
        "of `{function}` nothing before version {current} is kept; `hearth versions` lists what is"
    )]
    NoEditionBefore {
        /// Which.
        function: String,
        /// The version that its edition came with.
        current: u64,
    },
    /// It does not fit what is served otherwise, or this program.
    #[error("it makes no manifest: {0}")]
    Manifest(String),
}

impl History {
    /// Books what was accepted from the file. What the file said last time keeps its number.
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

    /// Books that the whole of this version is served again.
    pub fn back(&mut self, number: u64) {
        self.current = number;
    }

    /// Books that this edition of one function is served in what was.
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

    /// The version that a rollback of everything leads to.
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

    /// The edition that a rollback of one function leads to: the one before, or that of a version.
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

    /// A version as it can be served.
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

    /// What is served, with this edition of one function in it.
    pub fn with_edition(&self, function: &str, number: u64) -> Result<Whole, RollbackError> {
        let mut whole = self.whole(self.current)?;
        let edition = self.edition(function, number);
        let edition = edition.ok_or(RollbackError::NotKept(number))?;
        let part: Function = serde_json::from_value(edition.function.clone())
            .map_err(|error| RollbackError::Manifest(error.to_string()))?;
        whole.manifest.functions.insert(function.to_owned(), part);
        // Its routes may be another's by now.
        whole.manifest = parsed(&whole.manifest.to_yaml())?;
        whole
            .programs
            .insert(function.to_owned(), edition.program.clone());
        Ok(whole)
    }

    /// All programs that a kept version or edition needs.
    pub fn programs(&self) -> BTreeSet<&Program> {
        self.editions
            .values()
            .flatten()
            .map(|one| &one.program)
            .collect()
    }

    /// Forgets what cannot be served any more; the numbers of the versions that went are returned.
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

    /// Keeps the last versions of the file, the last that rollbacks made, what is served, and of each
    /// function the last editions and those that a version needs.
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
            // Of one that no version has, nothing is kept.
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

/// In what `after` differs from `before`.
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

/// Why what was kept could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not as it was written.
    #[error("it is torn: its checksum does not fit")]
    Torn,
    /// It is not understood.
    #[error("it is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads what was kept; nothing is kept yet where there is no file.
pub fn load(path: &Path) -> Result<History, HistoryError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        text => text?,
    };
    // A line with the checksum of the rest.
    let end = text.iter().position(|byte| *byte == b'\n');
    let (sum, rest) = text.split_at(end.ok_or(HistoryError::Torn)?);
    let rest = &rest[1..];
    match hex(digest(&SHA256, rest).as_ref()).as_bytes() == sum {
        true => Ok(serde_json::from_slice(rest)?),
        false => Err(HistoryError::Torn),
    }
}

/// Writes it: as a whole, or not at all.
pub fn save(path: &Path, history: &History) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(history)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    // Environments may hold what is not for everybody.
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
