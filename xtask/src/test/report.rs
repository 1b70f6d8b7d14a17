//! The table at the end of each run, as text and as JSON.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use xtask::clock;
use xtask::key::Key;
use xtask::sh::{root, said, say};
use xtask::timings::{Record, What};

use super::Size;
use super::part::Part;

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The part ran and passed.
    Passed,
    /// The part ran and failed.
    Failed,
    /// The part did not run, because it has passed with the same inputs.
    Unchanged,
    /// The part did not run, because an earlier stage failed.
    NotRun,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Passed => "passed",
            State::Failed => "FAILED",
            State::Unchanged => "unchanged",
            State::NotRun => "not run",
        }
    }
}

/// A part and its result.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The part's name.
    pub(crate) name: String,
    /// How the part ended.
    pub(crate) state: State,
    /// The time from start to end.
    pub(crate) time: Duration,
    /// The number of tests that ran, as the test harness reports it.
    pub(crate) tests: Option<u64>,
    /// The builds, machines and pauses of the part.
    pub(crate) records: Vec<Record>,
    /// The key of the part's inputs. `None` for a part that did not run because of a failure, and for a build.
    pub(crate) key: Option<Key>,
    /// Why the part failed.
    pub(crate) error: Option<String>,
}

impl Row {
    fn new(name: &str, state: State) -> Row {
        Row {
            name: name.to_owned(),
            state,
            time: Duration::ZERO,
            tests: None,
            records: Vec::new(),
            key: None,
            error: None,
        }
    }

    /// The row of a part that has passed with these inputs.
    pub(crate) fn unchanged(part: &Part, key: &Key) -> Row {
        Row {
            key: Some(key.clone()),
            ..Row::new(&part.name, State::Unchanged)
        }
    }

    /// The row of a part that did not run because an earlier stage failed.
    pub(crate) fn not_run(part: &Part) -> Row {
        Row::new(&part.name, State::NotRun)
    }

    /// The row of a part that ran.
    pub(crate) fn ran(part: &Part, key: Key, time: Duration, error: Option<String>) -> Row {
        Row {
            key: Some(key),
            time,
            ..Row::new(&part.name, State::Passed)
        }
        .with_error(error)
    }

    /// The row of a build that the parts of a stage share.
    pub(crate) fn built(name: &str, time: Duration, error: Option<String>) -> Row {
        let record = Record {
            what: What::Build,
            name: name.to_owned(),
            boot: Duration::ZERO,
            total: time,
        };
        Row {
            time,
            records: vec![record],
            ..Row::new(name, State::Passed)
        }
        .with_error(error)
    }

    /// The row of a part that passed in an interrupted run, from what [`Row::json`] wrote.
    pub(crate) fn earlier(part: &Part, key: &Key, written: &Value) -> Option<Row> {
        let records = written["records"].as_array()?.iter();
        Some(Row {
            time: Duration::try_from_secs_f64(written["seconds"].as_f64()?).ok()?,
            tests: written["tests"].as_u64(),
            records: records.filter_map(Record::from_json).collect(),
            key: Some(key.clone()),
            ..Row::new(&part.name, State::Passed)
        })
    }

    fn with_error(self, error: Option<String>) -> Row {
        let state = match error {
            None => State::Passed,
            Some(_) => State::Failed,
        };
        Row {
            state,
            error,
            ..self
        }
    }

    /// Returns the time that was spent on builds, machines or pauses.
    fn spent(&self, what: What) -> Duration {
        let records = self.records.iter().filter(|record| record.what == what);
        records.map(|record| record.total).sum()
    }

    fn boots(&self) -> Duration {
        self.records.iter().map(|record| record.boot).sum()
    }

    /// Encodes the row.
    pub(crate) fn json(&self) -> Value {
        let records = self.records.iter().map(Record::json);
        json!({
            "name": self.name,
            "state": self.state.name(),
            "seconds": seconds(self.time),
            "build_seconds": seconds(self.spent(What::Build)),
            "boot_seconds": seconds(self.boots()),
            "pause_seconds": seconds(self.spent(What::Pause)),
            "tests": self.tests,
            "key": self.key.as_ref().map(Key::full),
            "error": self.error,
            "records": records.collect::<Vec<_>>(),
        })
    }
}

/// All rows of a run.
#[derive(Debug)]
pub(crate) struct Report {
    size: &'static str,
    uncached: bool,
    rows: Vec<Row>,
    time: Duration,
}

impl Report {
    /// Creates a report without rows.
    pub(crate) fn new(size: &Size, uncached: bool) -> Report {
        Report {
            size: size.name(),
            uncached,
            rows: Vec::new(),
            time: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn finish(&mut self, time: Duration) {
        self.time = time;
    }

    fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.count(State::Failed) > 0
    }

    /// Returns the failed parts and their errors.
    pub(crate) fn failures(&self) -> String {
        let failed = self.rows.iter().filter(|row| row.state == State::Failed);
        let lines = failed.map(|row| {
            let error = row.error.as_deref().unwrap_or_default();
            format!("\n  {}: {error}", row.name)
        });
        format!("failed:{}", lines.collect::<String>())
    }

    /// Writes the table as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let root = root();
        let commit = ["-C", &*root.to_string_lossy(), "rev-parse", "HEAD"];
        let value = json!({
            "size": self.size,
            "uncached": self.uncached,
            "commit": said("git", &commit),
            "seconds": seconds(self.time),
            "passed": !self.has_failed(),
            "parts": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        fs::write(path, serde_json::to_string_pretty(&value)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("the same as JSON: {}", path.display()));
        Ok(())
    }

    /// Prints the table, and a line with the result.
    #[expect(clippy::print_stdout, reason = "the table is the run's result")]
    pub(crate) fn print(&self) {
        print!("{}", self.table());
        println!(
            "parts: {} passed, {} failed, {} skipped",
            self.count(State::Passed),
            self.count(State::Failed),
            self.count(State::Unchanged) + self.count(State::NotRun)
        );
        let verdict = match self.has_failed() {
            false => "all passed",
            true => "FAILED",
        };
        println!(
            "test {}: {verdict} in {}",
            self.size,
            clock::text(self.time)
        );
    }

    /// Formats the table. Columns: part, result, total time, and the time for builds, boots and fixed pauses. Below a
    /// part there is a line for each machine and build.
    fn table(&self) -> String {
        let mut text = format!(
            "\n{:<46} {:>9} {:>8} {:>7} {:>7} {:>7} {:>6}\n",
            "part", "", "time", "build", "boot", "pause", "tests"
        );
        for row in &self.rows {
            if row.state == State::Unchanged {
                let key = row.key.as_ref().map(Key::to_string).unwrap_or_default();
                text += &format!(
                    "{:<46} {:>9} since it passed, {key}\n",
                    row.name,
                    row.state.name()
                );
                continue;
            }
            let tests = row.tests.map(|count| count.to_string());
            text += &format!(
                "{:<46} {:>9} {:>8} {:>7} {:>7} {:>7} {:>6}\n",
                row.name,
                row.state.name(),
                shown(row.time),
                shown(row.spent(What::Build)),
                shown(row.boots()),
                shown(row.spent(What::Pause)),
                tests.unwrap_or_default(),
            );
            for record in &row.records {
                let (build, boot) = match record.what {
                    What::Build => (shown(record.total), String::new()),
                    What::Machine => (String::new(), shown(record.boot)),
                    What::Pause => continue,
                };
                text += &format!(
                    "  {:<54} {:>8} {:>7} {:>7}\n",
                    record.name,
                    shown(record.total),
                    build,
                    boot,
                );
            }
        }
        text + "\n"
    }
}

/// Formats seconds with one decimal digit; empty for zero.
fn shown(time: Duration) -> String {
    match time.is_zero() {
        true => String::new(),
        false => format!("{:.1}", time.as_secs_f64()),
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, state: State) -> Row {
        Row {
            time: Duration::from_millis(1_500),
            ..Row::new(name, state)
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_part_machine_and_build() {
        let mut report = Report::new(&Size::Usual, false);
        let record = |what, name: &str, boot, total| Record {
            what,
            name: name.to_owned(),
            boot: Duration::from_secs(boot),
            total: Duration::from_secs(total),
        };
        report.add(Row {
            records: vec![
                record(What::Build, "programs", 0, 7),
                record(What::Machine, "vm-1", 2, 9),
                record(What::Machine, "vm-2", 3, 4),
                record(What::Pause, "pause", 0, 1),
            ],
            tests: Some(12),
            ..row("devices", State::Passed)
        });
        report.add(Row {
            key: Some(xtask::key::KeyBuilder::new("a").finish()),
            ..row("style", State::Unchanged)
        });
        let table = report.table();
        let words = |name: &str| -> Vec<String> {
            let line = table
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            let words = line.unwrap_or_default().split_whitespace();
            words.map(str::to_owned).collect()
        };
        assert_eq!(
            words("devices"),
            ["devices", "passed", "1.5", "7.0", "5.0", "1.0", "12"]
        );
        assert_eq!(words("programs"), ["programs", "7.0", "7.0"]);
        assert_eq!(words("vm-1"), ["vm-1", "9.0", "2.0"]);
        assert_eq!(words("style")[..4], ["style", "unchanged", "since", "it"]);
        assert!(!report.has_failed());
    }

    #[test]
    fn a_part_that_fails_makes_the_run_fail_and_is_named_with_its_reason() {
        let mut report = Report::new(&Size::Full { resume: false }, true);
        report.add(row("style", State::Passed));
        report.add(row("pi", State::NotRun));
        assert!(!report.has_failed());
        report.add(row("boots", State::Passed).with_error(Some("no disk".to_owned())));
        assert!(report.has_failed());
        assert_eq!(report.failures(), "failed:\n  boots: no disk");
        assert_eq!(report.rows()[2].json()["state"], "FAILED");
        assert_eq!(report.rows()[2].json()["error"], "no disk");
    }
}
