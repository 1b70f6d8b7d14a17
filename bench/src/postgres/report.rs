//! Formats the results of the PostgreSQL benchmark as Markdown. This module does no I/O.

use std::fmt::Write;

use crate::figures::median;
use crate::machine::Machine;
use crate::table::{about, rounds, thousands, verdict};
use crate::targets::Target;

/// Target for the rate of queries through gateway and worker, as a fraction of pgbench's rate.
const TARGET: Target = Target::AtLeast(0.80);

/// The results of a run.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Versions of the other programs: `PostgreSQL 15.18, wrk ...`.
    pub(crate) versions: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) series: Vec<Series>,
}

/// The rounds with one number of connections.
pub(crate) struct Series {
    pub(crate) connections: u32,
    pub(crate) rounds: Vec<Round>,
    pub(crate) sampled: Sampled,
}

/// Queries per second of each variant, and the CPU use of the processes.
pub(crate) struct Round {
    pub(crate) pgbench: f64,
    pub(crate) kept: f64,
    pub(crate) apart: f64,
    /// Role of each process during `kept`, and the fraction of a core that it used.
    pub(crate) busy: Vec<(String, f64)>,
}

/// The function's connections to the database, sampled under load.
pub(crate) struct Sampled {
    pub(crate) requests: u64,
    /// For each sample, the ids of the server processes that serve the connections.
    pub(crate) looks: Vec<Vec<String>>,
}

impl Sampled {
    /// The smallest and largest number of connections in a sample.
    pub(crate) fn range(&self) -> (usize, usize) {
        let counts = || self.looks.iter().map(Vec::len);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }

    /// Whether all samples show the same connections.
    pub(crate) fn is_constant(&self) -> bool {
        self.looks.windows(2).all(|pair| pair[0] == pair[1])
    }
}

pub(crate) fn markdown(report: &Report) -> String {
    let mut text = about(&report.machine);
    let _ = writeln!(
        text,
        "{} of {} s for each load, in turn; {}; all by a Unix socket, one worker, 64 clients of the gateway.\n",
        rounds(report.rounds),
        report.seconds,
        report.versions,
    );
    text.push_str("| queries/s");
    for series in &report.series {
        let _ = write!(text, " | {} connections", series.connections);
    }
    let _ = writeln!(text, " |\n|---{}|", "|---".repeat(report.series.len()));
    row(&mut text, "pgbench, prepared", &report.series, |series| {
        thousands(series.of(|round| round.pgbench))
    });
    let kept = "`GET /items/{id}`, kept connections";
    row(&mut text, kept, &report.series, |series| {
        thousands(series.of(|round| round.kept))
    });
    let apart = "the same, a connection for each request";
    row(&mut text, apart, &report.series, |series| {
        thousands(series.of(|round| round.apart))
    });
    row(&mut text, "kept / pgbench", &report.series, |series| {
        let value = series.of(|round| round.kept) / series.of(|round| round.pgbench);
        let (sign, bound) = (TARGET.sign(), TARGET.bound());
        let verdict = verdict(TARGET, value);
        format!("{value:.3} (target {sign} {bound:.2}: {verdict})")
    });
    let ratio = "kept / a connection for each request";
    row(&mut text, ratio, &report.series, |series| {
        let value = series.of(|round| round.kept) / series.of(|round| round.apart);
        format!("{value:.1}")
    });
    let cpu = "CPU per request of kept (and busy, of a core)";
    row(&mut text, cpu, &report.series, busy);
    row(
        &mut text,
        "connections, fewest to most",
        &report.series,
        |series| {
            let (fewest, most) = series.sampled.range();
            let looks = series.sampled.looks.len();
            let requests = thousands(series.sampled.requests as f64);
            format!("{fewest} to {most} in {looks} looks through {requests} requests")
        },
    );
    text
}

fn row(text: &mut String, title: &str, all: &[Series], cell: impl Fn(&Series) -> String) {
    let cells: String = all.iter().map(|one| format!(" | {}", cell(one))).collect();
    let _ = writeln!(text, "| {title}{cells} |");
}

fn busy(series: &Series) -> String {
    let Some(first) = series.rounds.first() else {
        return String::new();
    };
    let cell = |(at, (role, _)): (usize, &(String, f64))| {
        let part = |round: &Round| round.busy.get(at).map_or(0.0, |(_, part)| *part);
        let micros = series.of(|round| part(round) / round.kept * 1e6);
        format!("{role} {micros:.1} µs ({:.0} %)", series.of(part) * 100.0)
    };
    let cells: Vec<String> = first.busy.iter().enumerate().map(cell).collect();
    cells.join(", ")
}

impl Series {
    fn of(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(looks: &[&[&str]]) -> Sampled {
        let look = |pids: &&[&str]| pids.iter().map(|pid| (*pid).to_owned()).collect();
        Sampled {
            requests: 100_000,
            looks: looks.iter().map(look).collect(),
        }
    }

    #[test]
    fn connections_are_constant_if_they_are_the_same_and_not_just_as_many() {
        let same = looks(&[&["7", "8"], &["7", "8"]]);
        assert!(same.is_constant());
        assert_eq!(same.range(), (2, 2));
        assert!(!looks(&[&["7", "8"], &["7", "9"]]).is_constant());
        let more = looks(&[&["7"], &["7", "8"], &["7"]]);
        assert!(!more.is_constant());
        assert_eq!(more.range(), (1, 2));
        assert_eq!(looks(&[]).range(), (0, 0));
    }

    #[test]
    fn ratios_are_of_medians_and_a_missed_target_is_said() {
        let round = |kept: f64| Round {
            pgbench: 20_000.0,
            kept,
            apart: 500.0,
            busy: vec![("gateway".to_owned(), 0.5), ("worker".to_owned(), 0.256)],
        };
        let series = Series {
            connections: 8,
            rounds: vec![round(9_000.0), round(10_000.0), round(19_000.0)],
            sampled: looks(&[&["7"], &["7"]]),
        };
        let report = Report {
            machine: Machine {
                cpu: "A CPU".to_owned(),
                cores: 2,
                kernel: "6.1".to_owned(),
                memory: 1 << 31,
                rustc: "rustc 1".to_owned(),
                date: "2026-11-24".to_owned(),
                load: "0.10".to_owned(),
            },
            versions: "PostgreSQL 15.18".to_owned(),
            rounds: 3,
            seconds: 5,
            series: vec![series],
        };
        let text = markdown(&report);
        for line in [
            "| queries/s | 8 connections |\n|---|---|\n| pgbench, prepared | 20,000 |",
            "| `GET /items/{id}`, kept connections | 10,000 |",
            "| kept / pgbench | 0.500 (target ≥ 0.80: **missed**) |",
            "| kept / a connection for each request | 20.0 |",
            "| gateway 50.0 µs (50 %), worker 25.6 µs (26 %) |",
            "| connections, fewest to most | 1 to 1 in 2 looks through 100,000 requests |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
