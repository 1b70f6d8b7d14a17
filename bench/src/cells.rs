//! Measures the cost of a cell for a request: the same platform with and without cells, under load in turns.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};

use crate::args::Pace;
use crate::entry;
use crate::figures::{CONNECTIONS, Sample, median};
use crate::hearth::{self, Programs};
use crate::load::load;
use crate::out;
use crate::run::sample;
use crate::scratch::Scratch;

/// Target: the maximum ratio of the costs with and without cells. Smaller differences are noise.
const TARGET: f64 = 1.05;

/// A value that is compared. With one connection, processors are idle between requests, and their measured CPU time
/// varies between turns; therefore latency is compared. With many connections, latency only shows the length of the
/// queue; therefore CPU time is compared.
struct Figure {
    connections: u32,
    what: &'static str,
    of: fn(&Sample) -> f64,
}

const FIGURES: [Figure; 2] = [
    Figure {
        connections: CONNECTIONS[0],
        what: "half of all answers within",
        of: |sample| sample.p50,
    },
    Figure {
        connections: CONNECTIONS[1],
        what: "CPU per request",
        of: |sample| sample.cpu,
    },
];

/// Seconds of load before the measurement.
const WARM_UP: u32 = 1;

/// The samples of one round in the order of measurement: with cells, without, without, with.
type Turns = [Sample; 4];

/// Measures and prints the result. Fails if the target is missed.
pub(crate) async fn run(pace: Pace) -> anyhow::Result<()> {
    let programs = entry::hearth_with_hello().await?;
    let scratch = Scratch::new()?;
    let without = without_cells(&programs, &scratch)?;
    let (with, bare) = (
        hearth::start(&programs).await?,
        hearth::start(&without).await?,
    );
    for server in [&with, &bare] {
        load(server.address, CONNECTIONS[1], WARM_UP).await?;
    }
    let mut table = String::new();
    let mut worst: f64 = 0.0;
    for figure in FIGURES {
        let mut rounds = Vec::new();
        for number in 1..=pace.rounds {
            out::say(format_args!("round {number} of {}", pace.rounds));
            let mut turns = Vec::new();
            for server in [&with, &bare, &bare, &with] {
                turns.push(sample(server, figure.connections, pace.seconds).await?);
            }
            rounds.push(Turns::try_from(turns).map_err(|_| anyhow::anyhow!("four turns"))?);
        }
        let cost = figure.ratio(&rounds);
        worst = worst.max(cost);
        table += &figure.row(&rounds, cost);
    }
    out::data(format_args!(
        "| connections | | in a cell | bare | ratio | bare, twice |\n|---|---|---|---|---|---|\n{table}"
    ))?;
    ensure!(
        worst <= TARGET,
        "a request costs {worst:.3} times as much in a cell, {TARGET} at most"
    );
    Ok(())
}

/// Copies the programs to another directory, where a script that runs this program replaces `hearth-cell`.
fn without_cells(programs: &Programs, scratch: &Scratch) -> anyhow::Result<Programs> {
    let directory = scratch.path().to_owned();
    for name in ["hearth", "hello"] {
        hearth::copy(&programs.join(name), &directory.join(name))?;
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    let cell = directory.join("hearth-cell");
    let script = format!("#!/bin/sh\nexec {} bare \"$1\"\n", own.display());
    fs::write(&cell, script)?;
    fs::set_permissions(&cell, fs::Permissions::from_mode(0o755))?;
    Ok(Programs::of(directory))
}

impl Figure {
    /// The ratio of the values with and without cells: the median over the rounds.
    fn ratio(&self, rounds: &[Turns]) -> f64 {
        let of = |turns: &Turns| {
            let [with, bare, again, last] = turns.each_ref().map(self.of);
            (with + last) / (bare + again)
        };
        median(rounds.iter().map(of).collect())
    }

    fn row(&self, rounds: &[Turns], cost: f64) -> String {
        let of = |at: [usize; 2]| {
            let values = rounds
                .iter()
                .flat_map(|one| at.map(|at| (self.of)(&one[at])));
            median(values.collect())
        };
        let noise = rounds
            .iter()
            .map(|one| ((self.of)(&one[1]) / (self.of)(&one[2]) - 1.0).abs());
        format!(
            "| {} | {} | {:.1} µs | {:.1} µs | {cost:.3} | differ by {:.1} % |\n",
            self.connections,
            self.what,
            of([0, 3]),
            of([1, 2]),
            median(noise.collect()) * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drifts_over_a_round_cancels_out() {
        let sample = |cpu| Sample {
            cpu,
            rate: 0.0,
            p50: 0.0,
            p99: 0.0,
        };
        let drifting = [10.0, 11.0, 12.0, 13.0].map(sample);
        assert!((FIGURES[1].ratio(&[drifting]) - 1.0).abs() < 1e-9);
        let dear = [11.0, 10.0, 10.0, 11.0].map(sample);
        assert!((FIGURES[1].ratio(&[drifting, dear, dear]) - 1.1).abs() < 1e-9);
    }
}
