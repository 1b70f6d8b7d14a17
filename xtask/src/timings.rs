//! What a part of the test run spent its time on. Processes that build programs, start virtual machines or pause
//! append lines to a file that the run names. The run reads the lines when the part has ended.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The environment variable with the file's path. Each line of the file is a [`Record`] as JSON.
/// `hearth_qemu_tests::timings` writes the lines for machines and pauses.
pub const FILE: &str = "HEARTH_TIMINGS";

/// What time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Programs, kernels, kits or images were built.
    Build,
    /// A virtual machine ran.
    Machine,
    /// A test waited for a fixed time.
    Pause,
}

impl What {
    const ALL: [What; 3] = [What::Build, What::Machine, What::Pause];

    fn name(self) -> &'static str {
        match self {
            What::Build => "build",
            What::Machine => "machine",
            What::Pause => "pause",
        }
    }
}

/// One build, machine or pause, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the time was spent on.
    pub what: What,
    /// The name; for a machine, that of its log.
    pub name: String,
    /// For a machine, the time from its start to the first event that a test waited for; otherwise zero.
    pub boot: Duration,
    /// The time from start to end.
    pub total: Duration,
}

impl Record {
    /// Encodes the record.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what.name(),
            "name": self.name,
            "boot_ms": self.boot.as_millis() as u64,
            "total_ms": self.total.as_millis() as u64,
        })
    }

    /// Decodes a record that [`Record::json`] has encoded.
    pub fn from_json(value: &Value) -> Option<Record> {
        let time = |name: &str| value[name].as_u64().map(Duration::from_millis);
        let what = value["what"].as_str()?;
        Some(Record {
            what: What::ALL.into_iter().find(|one| one.name() == what)?,
            name: value["name"].as_str()?.to_owned(),
            boot: time("boot_ms")?,
            total: time("total_ms")?,
        })
    }
}

/// Reads all records of a file, in the order in which they ended. Returns none if the file does not exist.
pub fn read(file: &Path) -> Vec<Record> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(from_line).collect()
}

fn from_line(line: &str) -> Option<Record> {
    Record::from_json(&serde_json::from_str(line).ok()?)
}

/// Builds something, and records how long that took if this process is part of a test run.
pub fn build<T>(name: &str, build: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let built = build();
    let record = Record {
        what: What::Build,
        name: name.to_owned(),
        boot: Duration::ZERO,
        total: begun.elapsed(),
    };
    if let Some(file) = std::env::var_os(FILE) {
        let opened = File::options().create(true).append(true).open(file);
        // If writing fails, only a column of the run's table is incomplete.
        let _ = opened.and_then(|mut file| writeln!(file, "{}", record.json()));
    }
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_and_anything_else_is_passed_over() {
        for what in What::ALL {
            let record = Record {
                what,
                name: "a".to_owned(),
                boot: Duration::from_millis(20),
                total: Duration::from_millis(30),
            };
            let line = record.json().to_string();
            assert_eq!(from_line(&line), Some(record));
        }
        for line in ["", "{", "{}", r#"{"what":"other","name":"a"}"#] {
            assert_eq!(from_line(line), None, "{line}");
        }
    }
}
