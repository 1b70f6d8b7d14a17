//! The gateway's counts, as it reports them to the supervisor once a second: the number of responses of each duration
//! since the last report. This module is part of the link, which is not part of the public protocol.

use serde::{Deserialize, Serialize};

/// Bounds of the buckets in one power of ten. Each bound is at most a third above the previous one. The metrics show
/// the bounds 1, 2.5 and 5.
const STEPS: [u32; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];

/// Number of powers of ten: from 10 microseconds to 100 seconds.
const DECADES: usize = 7;

/// Number of buckets. The last one is for all longer durations.
pub const BUCKETS: usize = STEPS.len() * DECADES + 1;

/// The longest duration of each bucket except the last, in microseconds.
pub const BOUNDS: [u32; BUCKETS - 1] = {
    let mut bounds = [0; BUCKETS - 1];
    let mut place = 0;
    let mut scale = 1;
    while place < bounds.len() {
        bounds[place] = STEPS[place % STEPS.len()] * scale;
        place += 1;
        if place.is_multiple_of(STEPS.len()) {
            scale *= 10;
        }
    }
    bounds
};

/// Returns the index of the bucket for a duration.
pub fn bucket(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| u64::from(*bound) < micros)
}

/// Responses by duration, from the arrival of the request's head to the head of the response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sum of all durations, in microseconds.
    pub sum_us: u64,
    /// Buckets that are not empty: index and count.
    pub buckets: Vec<(u8, u32)>,
}

/// The statistics of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// The worker.
    pub worker: u32,
    /// Requests that the worker has now.
    pub in_flight: u32,
    /// Responses of any status since the last message.
    pub answers: Counts,
}

/// The statistics of a function, or with an empty name, of requests that belong to no function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionStats {
    /// The name of the function.
    pub name: String,
    /// Requests that wait for a worker now.
    pub waiting: u32,
    /// Responses since the last message, by class of status (1 for 1xx to 5 for 5xx).
    pub answers: Vec<(u8, Counts)>,
}

/// What has changed since the last message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Client connections that are open now.
    pub connections: u32,
    /// Functions whose statistics have changed.
    pub functions: Vec<FunctionStats>,
    /// Workers whose statistics have changed.
    pub workers: Vec<WorkerStats>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_by_a_third_at_most_and_every_duration_has_its_bucket() {
        assert_eq!((BOUNDS[0], BOUNDS[BOUNDS.len() - 1]), (10, 80_000_000));
        for pair in BOUNDS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] * 3 <= pair[0] * 4, "{pair:?}");
        }
        for (place, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket(u64::from(*bound)), place);
            assert_eq!(bucket(u64::from(*bound) + 1), place + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
