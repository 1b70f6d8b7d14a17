//! Compares Hearth's results with its targets. This module does no I/O.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::entry::Kind;
use crate::figures::{CONNECTIONS, Round, Sample, median};
use crate::run::Report;

/// A bound for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
}

impl Target {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
            Target::Below(bound) => value < bound,
        }
    }

    pub(crate) fn bound(self) -> f64 {
        match self {
            Target::AtMost(bound) | Target::AtLeast(bound) | Target::Below(bound) => bound,
        }
    }

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Target::AtMost(_) => "≤",
            Target::AtLeast(_) => "≥",
            Target::Below(_) => "<",
        }
    }
}

/// A value that is compared between servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    Cpu,
    Rate,
    P50,
}

impl Figure {
    const ALL: [Figure; 3] = [Figure::Cpu, Figure::Rate, Figure::P50];

    fn of(self, sample: &Sample) -> f64 {
        match self {
            Figure::Cpu => sample.cpu,
            Figure::Rate => sample.rate,
            Figure::P50 => sample.p50,
        }
    }
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Figure::Cpu => "CPU per request",
            Figure::Rate => "requests/s",
            Figure::P50 => "p50",
        })
    }
}

/// The ratio of Hearth's value to that of another server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) figure: Figure,
    pub(crate) connections: u32,
    pub(crate) of: Kind,
    pub(crate) value: f64,
    pub(crate) target: Option<Target>,
}

/// The target for a ratio, if there is one. The targets limit the cost of the worker process compared with hyper alone,
/// and demand savings compared with a proxy.
fn target(figure: Figure, connections: u32, of: Kind) -> Option<Target> {
    Some(match (figure, connections, of) {
        (Figure::Cpu, 64, Kind::Hyper) => Target::AtMost(1.40),
        (Figure::Cpu, 64, Kind::Nginx) => Target::AtMost(0.60),
        (Figure::Rate, 64, Kind::Hyper) => Target::AtLeast(0.80),
        (Figure::Rate, 64, Kind::Nginx) => Target::AtLeast(1.40),
        (Figure::P50, 1, Kind::Nginx) => Target::AtMost(1.00),
        _ => return None,
    })
}

/// The ratios for each other server in turn. As in the tables, the load with many connections comes first.
pub(crate) fn ratios(report: &Report) -> Vec<Ratio> {
    let Some(hearth) = report.median(Kind::Hearth) else {
        return Vec::new();
    };
    let peers = [Kind::Hyper, Kind::Nginx];
    let peers = peers
        .into_iter()
        .filter_map(|kind| Some((kind, report.median(kind)?)));
    peers
        .flat_map(|(kind, peer)| compare(&hearth, kind, &peer))
        .collect()
}

fn compare(hearth: &Round, of: Kind, peer: &Round) -> Vec<Ratio> {
    let pairs = hearth.samples.iter().zip(&peer.samples);
    let counted = CONNECTIONS.into_iter().zip(pairs).rev();
    let ratio = |figure: Figure, connections, ours, theirs| Ratio {
        figure,
        connections,
        of,
        value: figure.of(ours) / figure.of(theirs),
        target: target(figure, connections, of),
    };
    counted
        .flat_map(|(connections, (ours, theirs))| {
            Figure::ALL.map(|figure| ratio(figure, connections, ours, theirs))
        })
        .collect()
}

/// Unit of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Bytes,
    Milliseconds,
}

/// A value that exists only for Hearth, with its target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
}

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn checks(report: &Report) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |what: String, value: Option<f64>, unit, target| {
        checks.extend(value.map(|value| Check {
            what,
            value,
            unit,
            target,
        }));
    };
    let file = report.sizes.iter().find(|(name, _)| name == "hello");
    let file = file.map(|(_, bytes)| *bytes as f64);
    check(
        "hello worker, file".to_owned(),
        file,
        Unit::Bytes,
        Target::Below(MIB),
    );
    let memory = report
        .median(Kind::Hearth)
        .and_then(|round| round.memory_of("worker"));
    let memory = memory.map(|bytes| bytes as f64);
    check(
        "hello worker, memory (PSS)".to_owned(),
        memory,
        Unit::Bytes,
        Target::Below(MIB),
    );
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    let times: Vec<f64> = report.replacements.iter().map(millis).collect();
    let longest = times.iter().copied().reduce(f64::max);
    let middle = longest.map(|_| median(times.clone()));
    for (which, value) in [("median", middle), ("longest", longest)] {
        let what = format!("replacement of a killed worker, {which} of {}", times.len());
        check(what, value, Unit::Milliseconds, Target::AtMost(20.0));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::round;

    #[test]
    fn a_target_is_met_or_missed_at_its_bound() {
        assert!(Target::AtMost(1.4).is_met_by(1.4));
        assert!(!Target::AtMost(1.4).is_met_by(1.41));
        assert!(Target::AtLeast(0.8).is_met_by(0.8));
        assert!(!Target::AtLeast(0.8).is_met_by(0.79));
        assert!(!Target::Below(1.0).is_met_by(1.0));
        assert!(!Target::AtMost(1.0).is_met_by(f64::NAN));
    }

    #[test]
    fn ratios_are_hearths_over_the_peers() {
        let got = compare(&round(3.0), Kind::Nginx, &round(6.0));
        let got: Vec<_> = got
            .iter()
            .map(|ratio| (ratio.figure, ratio.connections, ratio.value, ratio.target))
            .collect();
        let expect = [
            (Figure::Cpu, 64, 0.5, Some(Target::AtMost(0.6))),
            (Figure::Rate, 64, 2.0, Some(Target::AtLeast(1.4))),
            (Figure::P50, 64, 0.5, None),
            (Figure::Cpu, 1, 0.5, None),
            (Figure::Rate, 1, 2.0, None),
            (Figure::P50, 1, 0.5, Some(Target::AtMost(1.0))),
        ];
        assert_eq!(got, expect);
    }
}
