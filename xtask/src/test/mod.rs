//! `cargo xtask test`: plans what to run, runs it, and reports results and times.
//!
//! [`plan`] decides, from the project's files alone, which [parts](part) a run has and what each of them can see.
//! [`passed`] stores which parts have passed with which inputs, and [`full`] what an interrupted full run has done.
//! [`runner`] runs the remaining parts, and [`report`] writes the table.

mod full;
mod host;
mod part;
mod passed;
mod plan;
mod report;
mod runner;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;
use xtask::install;
use xtask::needs::{self, Need};
use xtask::sh::{root, said, say, target};
use xtask::tree::Tree;
use xtask::{clock, qemu, toolchain};

use crate::args::Options;
use full::Unfinished;
use part::{Part, Stage};
use passed::{Durations, Passed};
use report::{Report, Row};

/// How much is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Style, and host tests of what has changed.
    Quick {
        /// Only tests of these packages and of those that depend on them; all tests if empty.
        crates: Vec<String>,
    },
    /// Every part that has changed, and a sample of the parts that depend on chance.
    Usual,
    /// Every part, and long runs of the parts that depend on chance.
    Full {
        /// Whether to continue an interrupted full run.
        resume: bool,
    },
}

impl Size {
    fn name(&self) -> &'static str {
        match self {
            Size::Quick { .. } => "quick",
            Size::Usual => "usual",
            Size::Full { .. } => "full",
        }
    }
}

/// Disk space that a full run takes below `target/` and `~/.cache/hearth`, in GB: measured, and rounded up.
const DISK_GB: u64 = 20;

/// Plans and runs the tests of this size.
pub(crate) fn run(size: Size, options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    if options.yes {
        install::answer_yes();
    }
    let tree = Tree::read(&root())?;
    let mut parts = plan::parts(&tree, &size)?;
    let is_wanted = |part: &Part| options.only.iter().any(|name| part.name.contains(name));
    parts.retain(|part| options.only.is_empty() || is_wanted(part));
    ensure!(
        !parts.is_empty(),
        "no part has {} in its name",
        options.only.join(" or ")
    );
    let durations = Durations::read()?;
    announce(&size, &parts, &durations);
    if !options.dry_run {
        prepare(&parts)?;
    }
    let passed = Passed::open()?;
    let unfinished = match size {
        Size::Full { resume } => Some(Unfinished::open(resume, options.only.is_empty())?),
        Size::Usual | Size::Quick { .. } => None,
    };
    let uncached = options.no_cache || unfinished.is_some();
    let mut report = Report::new(&size, uncached);
    let mut waiting = Vec::new();
    for part in parts {
        let key = part.key(&tree)?;
        if let Some(row) = unfinished.as_ref().and_then(|run| run.row(&part, &key)) {
            report.add(row);
        } else if !uncached && !part.depends_on_chance && passed.contains(&key) {
            report.add(Row::unchanged(&part, &key));
        } else {
            waiting.push((part, key));
        }
    }
    let to_run: Vec<&Part> = waiting.iter().map(|(part, _)| part).collect();
    say(&format!(
        "{} parts to run, {} have passed with the same inputs: {}",
        to_run.len(),
        report.rows().len(),
        Estimate::new(&to_run, &durations)
    ));
    if options.dry_run {
        waiting
            .iter()
            .for_each(|(part, _)| say(&format!("  would run {}", part.name)));
        return Ok(());
    }
    let mut run = runner::Runner::new(&tree, passed, unfinished);
    for stage in Stage::ALL {
        let (now, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(part, _)| part.stage == stage);
        waiting = later;
        run.stage(stage, now, &mut report);
        if report.has_failed() {
            // Later stages test what earlier ones have built.
            break;
        }
    }
    for (part, _) in waiting {
        report.add(Row::not_run(&part));
    }
    report.finish(begun.elapsed());
    durations.write_with(report.rows())?;
    report.write(&target().join("test-report.json"))?;
    report.print();
    ensure!(!report.has_failed(), "{}", report.failures());
    if let Some(unfinished) = run.unfinished().filter(|_| options.only.is_empty()) {
        unfinished.finish()?;
    }
    Ok(())
}

/// Prints what the run will do, install and use.
fn announce(size: &Size, parts: &[Part], durations: &Durations) {
    say(&format!("size {}: {} parts", size.name(), parts.len()));
    for stage in Stage::ALL {
        let parts: Vec<&Part> = parts.iter().filter(|part| part.stage == stage).collect();
        if !parts.is_empty() {
            let estimate = Estimate::new(&parts, durations);
            let (title, count) = (stage.title(), parts.len());
            say(&format!(
                "  {title}: {count} parts, {estimate} if all of it runs"
            ));
        }
    }
    let missing = install::missing(&needed(parts));
    if !missing.is_empty() {
        say(&format!("  will install: {}", missing.join(", ")));
    }
    let free = said("df", &["--output=avail", "-BG", &root().to_string_lossy()]);
    let free = free.and_then(|text| Some(text.lines().last()?.trim().to_owned()));
    say(&format!(
        "  needs up to {DISK_GB} GB below target/ and ~/.cache/hearth; {} are free",
        free.unwrap_or_else(|| "unknown".to_owned())
    ));
}

/// How long parts take on this machine, if each takes as long as last time.
struct Estimate {
    time: Duration,
    /// The number of parts that have never run here.
    unknown: usize,
}

impl Estimate {
    fn new(parts: &[&Part], durations: &Durations) -> Estimate {
        let mut estimate = Estimate {
            time: Duration::ZERO,
            unknown: 0,
        };
        for part in parts {
            let last = durations.last(&part.name);
            estimate.unknown += usize::from(last.is_none());
            let time = last.unwrap_or_default();
            estimate.time += match part.stage.is_side_by_side() {
                true => time / 2,
                false => time,
            };
        }
        estimate
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {}", clock::text(self.time))?;
        match self.unknown {
            0 => Ok(()),
            unknown => write!(f, " and what {unknown} parts take that never ran here"),
        }
    }
}

/// Returns everything that these parts need, without duplicates.
fn needed(parts: &[Part]) -> Vec<Need> {
    let all: BTreeSet<Need> = parts
        .iter()
        .flat_map(|part| part.needs().iter().flat_map(|needs| needs.iter().copied()))
        .collect();
    all.into_iter().collect()
}

/// Installs what these parts need. This must happen first, because their keys contain the versions.
fn prepare(parts: &[Part]) -> anyhow::Result<()> {
    let needed = needed(parts);
    let (qemu, others): (Vec<Need>, Vec<Need>) = needed
        .into_iter()
        .partition(|need| needs::QEMU.contains(need));
    install::ensure(&others)?;
    if !qemu.is_empty() {
        qemu::ensure()?;
    }
    match parts.iter().any(Part::needs_static_toolchain) {
        true => toolchain::ensure(),
        false => Ok(()),
    }
}
