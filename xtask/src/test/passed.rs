//! Which inputs have passed, and how long parts took. Stored below `~/.cache/hearth`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde_json::{Value, json};
use xtask::cache;
use xtask::key::Key;

use super::report::{Row, State};

/// A key that no run has looked up for this long is deleted, because that state of the project is history.
const MAX_AGE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// The keys of parts that have passed. Each is a file below `passed/`, whose modification time is the key's last
/// lookup.
#[derive(Clone, Debug)]
pub(crate) struct Passed(PathBuf);

impl Passed {
    /// Opens the store, and deletes old keys.
    pub(crate) fn open() -> anyhow::Result<Passed> {
        let passed = Passed(cache::place()?.join("passed"));
        fs::create_dir_all(&passed.0)
            .with_context(|| format!("cannot make {}", passed.0.display()))?;
        for entry in fs::read_dir(&passed.0)?.flatten() {
            let age = entry.metadata().and_then(|file| file.modified());
            let age = age.ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > MAX_AGE) {
                // A key that cannot be deleted only costs a few bytes.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(passed)
    }

    /// Returns whether a part has passed with these inputs.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        let file = self.0.join(key.full());
        let Ok(file) = fs::File::options().append(true).open(file) else {
            return false;
        };
        // A failure only makes the key look older than it is.
        let _ = file.set_modified(SystemTime::now());
        true
    }

    /// Stores that a part has passed with these inputs.
    pub(crate) fn remember(&self, key: &Key, part: &str) -> anyhow::Result<()> {
        let file = self.0.join(key.full());
        fs::write(&file, format!("{part}\n"))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// How long each part took when it last ran on this machine, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Durations {
    file: PathBuf,
    known: BTreeMap<String, f64>,
}

impl Durations {
    /// Reads the durations. There are none before the first run.
    pub(crate) fn read() -> anyhow::Result<Durations> {
        let file = cache::place()?.join("durations.json");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let entries = value.as_object().into_iter().flatten();
        let known = entries.filter_map(|(name, time)| Some((name.clone(), time.as_f64()?)));
        Ok(Durations {
            known: known.collect(),
            file,
        })
    }

    /// Returns how long a part took last time.
    pub(crate) fn last(&self, part: &str) -> Option<Duration> {
        let seconds = self.known.get(part)?;
        Duration::try_from_secs_f64(*seconds).ok()
    }

    /// Writes the durations, updated with those of the parts that have just passed.
    pub(crate) fn write_with(mut self, rows: &[Row]) -> anyhow::Result<()> {
        let ran = rows.iter().filter(|row| row.state == State::Passed);
        self.known
            .extend(ran.map(|row| (row.name.clone(), row.time.as_secs_f64())));
        let text = serde_json::to_string_pretty(&json!(self.known))?;
        fs::write(&self.file, text).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use xtask::key::KeyBuilder;

    use super::*;

    #[test]
    fn a_key_is_known_once_its_part_has_passed_and_no_other_is() {
        let place = std::env::temp_dir().join(format!("hearth-passed-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let passed = Passed(place.clone());
        let key = |text: &str| KeyBuilder::new(text).finish();
        assert!(!passed.contains(&key("a")));
        passed.remember(&key("a"), "part").unwrap();
        assert!(passed.contains(&key("a")));
        assert!(!passed.contains(&key("b")));
        fs::remove_dir_all(&place).unwrap();
    }
}
