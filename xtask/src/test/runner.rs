//! Runs the parts of a stage, and records the results.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use hearth_image::Arch;
use xtask::key::Key;
use xtask::sh::{cargo_program, root, say, target};
use xtask::timings;
use xtask::tree::{Kind, Tree};
use xtask::{clock, kernel};

use super::full::Unfinished;
use super::host::{self, Programs};
use super::part::{Part, Stage, Work};
use super::passed::Passed;
use super::report::{Report, Row};
use crate::{fuzz, machines, tidy};

/// How many lines of its log are shown when a part fails.
const SHOWN_LINES: usize = 80;

/// A part to run, and its key, which is stored when the part passes.
pub(crate) type Waiting = (Part, Key);

/// Runs parts.
pub(crate) struct Runner<'a> {
    tree: &'a Tree,
    passed: Passed,
    unfinished: Option<Unfinished>,
    /// The host's programs, which are built before the first part that needs them.
    programs: Option<Programs>,
}

impl<'a> Runner<'a> {
    /// Creates a runner that has not run anything yet.
    pub(crate) fn new(
        tree: &'a Tree,
        passed: Passed,
        unfinished: Option<Unfinished>,
    ) -> Runner<'a> {
        Runner {
            tree,
            passed,
            unfinished,
            programs: None,
        }
    }

    /// Returns the full run that this is, if it is one.
    pub(crate) fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// Runs all parts of a stage, even if one fails.
    pub(crate) fn stage(&mut self, stage: Stage, parts: Vec<Waiting>, report: &mut Report) {
        if parts.is_empty() {
            return;
        }
        say(&format!("{}: {} parts", stage.title(), parts.len()));
        if stage.needs_build() && self.programs.is_none() && !self.build(report) {
            return;
        }
        if !build_kernels(&parts, report) {
            return;
        }
        let rows = match stage.is_side_by_side() {
            true => self.side_by_side(&parts),
            false => parts.iter().map(|part| self.run(part)).collect(),
        };
        rows.into_iter().for_each(|row| report.add(row));
    }

    /// Runs the parts of each lane one after the other, and the lanes at the same time.
    fn side_by_side(&self, parts: &[Waiting]) -> Vec<Row> {
        let lane = |arch: Arch| -> Vec<Row> {
            let is_mine = |part: &&Waiting| part.0.lane() == Some(arch);
            let mine = parts.iter().filter(is_mine);
            mine.map(|part| self.run(part)).collect()
        };
        std::thread::scope(|scope| {
            let lane = &lane;
            let lanes = Arch::ALL.map(|arch| scope.spawn(move || lane(arch)));
            let rows = lanes.into_iter().map(|lane| lane.join());
            rows.flat_map(|rows| rows.expect("a lane does not panic"))
                .collect()
        })
    }

    /// Stores that a part has passed, unless its inputs have changed while it ran: then neither the old nor the new
    /// state was tested.
    fn remember(&self, part: &Part, key: &Key, row: &Row) -> anyhow::Result<()> {
        let now = part.key(&self.tree.read_again(&root())?)?;
        ensure!(now == *key, "its inputs have changed while it ran");
        if let Some(unfinished) = &self.unfinished {
            unfinished.remember(key, row)?;
        }
        match part.depends_on_chance {
            true => Ok(()),
            false => self.passed.remember(key, &part.name),
        }
    }

    /// Builds the host's programs, and returns whether that succeeded.
    fn build(&mut self, report: &mut Report) -> bool {
        let begun = Instant::now();
        let built = Programs::build(self.tree);
        let time = begun.elapsed();
        let error = built.as_ref().err().map(|error| format!("{error:#}"));
        report.add(Row::built("build for this machine", time, error));
        self.programs = built.ok();
        self.programs.is_some()
    }

    fn run(&self, (part, key): &Waiting) -> Row {
        let begun = Instant::now();
        let log = log_of(part);
        let records = log.with_extension("timings");
        let done = self.work(part, &log, &records);
        let time = begun.elapsed();
        let error = done.err().map(|error| format!("{error:#}"));
        let mut row = Row::ran(part, key.clone(), time, error);
        row.records = timings::read(&records);
        row.tests = host::tests_passed(&log);
        let tests = row.tests.map(|count| format!(", {count} tests"));
        let tests = tests.unwrap_or_default();
        let took = clock::text(time);
        if let Some(error) = &row.error {
            say(&format!("{}: FAILED after {took}: {error}", part.name));
            return row;
        }
        say(&format!("{}: passed in {took}{tests}", part.name));
        if let Err(error) = self.remember(part, key, &row) {
            say(&format!("{}: not remembered: {error:#}", part.name));
        }
        row
    }

    fn work(&self, part: &Part, log: &Path, records: &Path) -> anyhow::Result<()> {
        if let Some(directory) = log.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        // These are files of an earlier run.
        for old in [log, records] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        let mut command = match &part.work {
            Work::Style => return tidy::tidy(),
            Work::Fuzz { runs } => return fuzz::fuzz(*runs, None),
            Work::Program {
                package,
                target,
                kind,
                words,
            } => {
                let programs = self.programs.as_ref().context("nothing is built")?;
                let program = programs.find(package, target, *kind)?;
                let mut command = host::command(program, package, self.tree);
                command.args(words);
                return run(command, log, records, Echo::Failure, &part.name);
            }
            Work::Documentation => {
                let mut cargo = Command::new(cargo_program());
                cargo.args(["test", "--doc", "--workspace", "--quiet"]);
                return run(cargo, log, records, Echo::Failure, &part.name);
            }
            Work::Bench { words } => {
                let mut bench = Command::new(target().join("debug/bench"));
                bench.args(words);
                bench
            }
            Work::Machines { words, .. } => {
                let programs = self.programs.as_ref().context("nothing is built")?;
                let tests = programs.find("hearth-qemu-tests", "appliance", Kind::Test)?;
                let mut program = Command::new(machines::program());
                program.args(words).env("HEARTH_APPLIANCE_TESTS", tests);
                program
            }
        };
        command.env("HEARTH_PROGRAM", target().join("debug/hearth"));
        run(command, log, records, Echo::Whole, &part.name)
    }
}

/// Builds the kernels of these parts, one after the other, and returns whether they exist now. No part starts
/// earlier: its machines would take processor time from a build that other parts wait for.
fn build_kernels(parts: &[Waiting], report: &mut Report) -> bool {
    for arch in Arch::ALL {
        let is_needed = parts.iter().any(|(part, _)| part.lane() == Some(arch));
        if !is_needed || kernel::is_built(arch).unwrap_or(false) {
            continue;
        }
        let begun = Instant::now();
        let error = kernel::ensure(arch).err();
        let error = error.map(|error| format!("{error:#}"));
        let is_built = error.is_none();
        report.add(Row::built(
            &format!("kernel, {arch}"),
            begun.elapsed(),
            error,
        ));
        if !is_built {
            return false;
        }
    }
    true
}

/// Which part of the output is shown. The log contains all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    /// Each line, with the part's name in front.
    Whole,
    /// The last lines, if the part fails.
    Failure,
}

/// Runs a part's program to its end.
fn run(
    mut command: Command,
    log: &Path,
    records: &Path,
    echo: Echo,
    name: &str,
) -> anyhow::Result<()> {
    if command.get_current_dir().is_none() {
        command.current_dir(root());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        .env(timings::FILE, records)
        // Tests that need other programs of the workspace do not have to build them.
        .env("HEARTH_WORKSPACE_BUILT", "1")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // `command` holds copies of the pipe's write end. While they exist, reading does not end.
    drop(command);
    copy(reader, file, (echo == Echo::Whole).then_some(name))?;
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {program}"))?;
    if status.success() {
        return Ok(());
    }
    if echo == Echo::Failure {
        say(&format!("the end of {}:\n{}", log.display(), tail(log)));
    }
    bail!("{status}; its output: {}", log.display())
}

/// Copies lines to a log, and also prints them with `name` in front, if there is one.
#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
fn copy(from: impl Read, mut log: File, name: Option<&str>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)?;
        if let Some(name) = name {
            let text = String::from_utf8_lossy(&line);
            eprintln!("[{name}] {}", text.trim_end());
        }
        line.clear();
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Returns `target/test/NAME.log`, with everything but letters, digits and underscores replaced by dashes.
fn log_of(part: &Part) -> PathBuf {
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = part.name.chars().map(kept).collect();
    let name = name.replace("--", "-");
    target().join("test").join(format!("{name}.log"))
}
