//! Counters of responses and their durations. All gateway threads share them without a lock, and [`crate::link`] takes
//! the counts once a second. Counting a response is two additions in memory.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hearth_protocol::stats::{BUCKETS, Counts, bucket};

/// One histogram. It is allocated when the first response is counted, because most of many functions are idle.
#[derive(Debug, Default)]
pub struct Tally(OnceLock<Box<Histogram>>);

#[derive(Debug)]
struct Histogram {
    sum_us: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Tally {
    /// Counts a response.
    pub fn count(&self, micros: u64) {
        let histogram = self.0.get_or_init(|| {
            Box::new(Histogram {
                sum_us: AtomicU64::new(0),
                buckets: [const { AtomicU32::new(0) }; BUCKETS],
            })
        });
        histogram.sum_us.fetch_add(micros, Ordering::Relaxed);
        histogram.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was counted since the last call, if anything was counted.
    pub fn take(&self) -> Option<Counts> {
        let histogram = self.0.get()?;
        let mut buckets = Vec::new();
        for (number, bucket) in histogram.buckets.iter().enumerate() {
            // Most buckets are empty, and a load is cheaper than a swap.
            if bucket.load(Ordering::Relaxed) > 0 {
                let number = u8::try_from(number).expect("there are less than 256 buckets");
                buckets.push((number, bucket.swap(0, Ordering::Relaxed)));
            }
        }
        let sum_us = match buckets.is_empty() {
            true => return None,
            false => histogram.sum_us.swap(0, Ordering::Relaxed),
        };
        Some(Counts { sum_us, buckets })
    }
}

/// Counts of responses by class of status (1xx to 5xx).
#[derive(Debug, Default)]
pub struct Classes([Tally; 5]);

impl Classes {
    /// Counts a response.
    pub fn count(&self, status: u16, micros: u64) {
        let class = usize::from(status / 100).clamp(1, self.0.len());
        self.0[class - 1].count(micros);
    }

    /// Takes what was counted since the last call.
    pub fn take(&self) -> Vec<(u8, Counts)> {
        let classes = (1..).zip(&self.0);
        classes
            .filter_map(|(class, tally)| Some((class, tally.take()?)))
            .collect()
    }
}

/// The number of open client connections.
#[derive(Clone, Debug, Default)]
pub struct Open(Arc<AtomicU32>);

/// An open connection, counted until it is dropped.
#[derive(Debug)]
pub struct OneOpen(Open);

impl Open {
    /// Counts one more connection.
    pub fn one(&self) -> OneOpen {
        self.0.fetch_add(1, Ordering::Relaxed);
        OneOpen(self.clone())
    }

    /// The number of open connections.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OneOpen {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_taken_once_by_class_and_bucket() {
        let classes = Classes::default();
        assert_eq!(classes.take(), []);
        classes.count(200, 10);
        classes.count(204, 11);
        classes.count(404, 5_000_000_000);
        let counts = |sum_us, buckets: &[(u8, u32)]| Counts {
            sum_us,
            buckets: buckets.to_vec(),
        };
        let last = BUCKETS as u8 - 1;
        let expect = [
            (2, counts(21, &[(0, 1), (1, 1)])),
            (4, counts(5_000_000_000, &[(last, 1)])),
        ];
        assert_eq!(classes.take(), expect);
        assert_eq!(classes.take(), []);
        classes.count(503, 10);
        assert_eq!(classes.take(), [(5, counts(10, &[(0, 1)]))]);
    }
}
