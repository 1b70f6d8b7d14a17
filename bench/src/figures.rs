//! Results of measurements, and their medians. This module does no I/O.

/// Numbers of connections of the two loads: one connection shows latency, many connections show cost.
pub(crate) const CONNECTIONS: [u32; 2] = [1, 64];

/// Results of one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// CPU time per request of all the server's processes, in microseconds.
    pub(crate) cpu: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Median latency in microseconds.
    pub(crate) p50: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99: f64,
}

/// Results of one server in one round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    /// One sample for each of [`CONNECTIONS`].
    pub(crate) samples: [Sample; 2],
    /// Role and memory (PSS, in bytes) of each process after the loads.
    pub(crate) memory: Vec<(String, u64)>,
}

impl Round {
    /// The median of each value over the rounds, or `None` without rounds.
    pub(crate) fn median(rounds: &[Round]) -> Option<Round> {
        let first = rounds.first()?;
        let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let sample = |at: usize| Sample {
            cpu: of(&|round| round.samples[at].cpu),
            rate: of(&|round| round.samples[at].rate),
            p50: of(&|round| round.samples[at].p50),
            p99: of(&|round| round.samples[at].p99),
        };
        let memory = |(at, (role, _)): (usize, &(String, u64))| {
            let bytes = of(&|round| round.memory.get(at).map_or(0.0, |(_, bytes)| *bytes as f64));
            (role.clone(), bytes as u64)
        };
        Some(Round {
            samples: [sample(0), sample(1)],
            memory: first.memory.iter().enumerate().map(memory).collect(),
        })
    }

    /// Memory of the process with this role, in bytes.
    pub(crate) fn memory_of(&self, role: &str) -> Option<u64> {
        let found = self.memory.iter().find(|(name, _)| name == role);
        found.map(|(_, bytes)| *bytes)
    }
}

/// The median: the middle value, or the mean of the two middle values. Without values, it is NaN.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() % 2 {
        1 => values[half],
        _ if values.is_empty() => f64::NAN,
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A round whose values are all derived from one number.
    pub(crate) fn round(number: f64) -> Round {
        let sample = |by: f64| Sample {
            cpu: number * by,
            rate: 100_000.0 / number * by,
            p50: 50.0 * number * by,
            p99: 90.0 * number * by,
        };
        Round {
            samples: [sample(1.0), sample(2.0)],
            memory: vec![("gateway".to_owned(), (number * 1024.0) as u64)],
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn each_figure_has_its_own_median() {
        let mut odd = round(9.0);
        odd.samples[0].cpu = 0.5;
        let got = Round::median(&[round(1.0), odd, round(2.0)]).unwrap();
        assert_eq!(got.samples[0].cpu, 1.0);
        assert_eq!(got.samples[1], round(2.0).samples[1]);
        assert_eq!(got.memory_of("gateway"), Some(2048));
        assert_eq!(got.memory_of("nobody"), None);
        assert_eq!(Round::median(&[]), None);
    }
}
