//! Responses by duration, summed up from the gateway's reports, and quantiles of the durations.

use hearth_protocol::stats::{BOUNDS, BUCKETS, Counts};

/// The number of responses in each bucket of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: [0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Histogram {
    /// Adds reported counts. Bucket numbers that do not exist, from a faulty gateway, are ignored.
    pub fn add(&mut self, counts: &Counts) {
        self.sum_us = self.sum_us.saturating_add(counts.sum_us);
        for (number, count) in &counts.buckets {
            if let Some(bucket) = self.counts.get_mut(usize::from(*number)) {
                *bucket += u64::from(*count);
            }
        }
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for (bucket, count) in self.counts.iter_mut().zip(other.counts) {
            *bucket += count;
        }
    }

    /// The number of responses.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// How many responses took at most this many microseconds, which must be the bound of a bucket.
    pub fn at_most(&self, micros: u32) -> u64 {
        let counts = BOUNDS.iter().zip(&self.counts);
        counts
            .take_while(|(bound, _)| **bound <= micros)
            .map(|(_, count)| count)
            .sum()
    }

    /// The duration in milliseconds that this part of all responses did not exceed, interpolated linearly within its
    /// bucket. The error is less than the width of the bucket: at most a third of the true value, above 10
    /// microseconds.
    pub fn quantile_ms(&self, part: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let rank = (part * all as f64).max(1.0);
        let mut before = 0.0;
        for (place, count) in self.counts.iter().enumerate() {
            let count = *count as f64;
            if before + count >= rank {
                let low = place.checked_sub(1).map_or(0, |place| BOUNDS[place]);
                // The last bucket has no upper bound.
                let high = BOUNDS.get(place).copied().unwrap_or(low);
                let inside = (rank - before) / count;
                let micros = f64::from(low) + f64::from(high - low) * inside;
                return Some((micros.round()) / 1000.0);
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use hearth_protocol::stats::bucket;

    use super::*;

    fn of(micros: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for one in micros {
            histogram.add(&Counts {
                sum_us: *one,
                buckets: vec![(bucket(*one) as u8, 1)],
            });
        }
        histogram
    }

    #[test]
    fn quantiles_are_within_a_quarter_of_the_truth() {
        let micros: Vec<u64> = (1..=1000).map(|number| number * 37).collect();
        let histogram = of(&micros);
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let truth = micros[(part * 1000.0) as usize - 1] as f64 / 1000.0;
            let told = histogram.quantile_ms(part).unwrap();
            assert!(
                (told - truth).abs() <= truth / 4.0,
                "{part}: {told} for {truth}"
            );
        }
        assert_eq!(of(&[]).quantile_ms(0.5), None);
        assert_eq!(of(&[u64::from(u32::MAX)]).quantile_ms(0.5), Some(80_000.0));
    }

    #[test]
    fn counts_and_sums_add_up_and_no_lie_of_the_gateway_is_fatal() {
        let mut histogram = of(&[1000, 2500, 2501]);
        assert_eq!((histogram.at_most(1000), histogram.at_most(2500)), (1, 2));
        assert_eq!((histogram.count(), histogram.sum_seconds()), (3, 0.006_001));
        histogram.merge(&of(&[10]));
        assert_eq!((histogram.count(), histogram.at_most(10)), (4, 1));
        histogram.add(&Counts {
            sum_us: u64::MAX,
            buckets: vec![(255, 1)],
        });
        assert_eq!(histogram.count(), 4);
    }
}
