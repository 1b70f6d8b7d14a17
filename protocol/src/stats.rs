//! What the gateway counts, as it tells the supervisor once a second: how many answers there were of
//! each duration since it last told. Part of the link, which is no part of the public wire.

use serde::{Deserialize, Serialize};

/// Buckets of one power of ten: steps of a quarter at most, and 1, 2.5 and 5 among them, which the
/// metrics show.
const STEPS: [u32; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];

/// Powers of ten, from 10 microseconds to 100 seconds.
const DECADES: usize = 7;

/// Buckets of durations, the last one for everything that is longer.
pub const BUCKETS: usize = STEPS.len() * DECADES + 1;

/// The longest duration of each bucket but the last, in microseconds.
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

/// The bucket of a duration.
pub fn bucket(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| u64::from(*bound) < micros)
}

/// Answers by their duration: from the request's head to the answer's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All durations together, in microseconds.
    pub sum_us: u64,
    /// Buckets in which there were any: number and count.
    pub buckets: Vec<(u8, u32)>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Which.
    pub worker: u32,
    /// Requests that are with it now.
    pub in_flight: u32,
    /// Answers since the last message, of whatever status.
    pub answers: Counts,
}

/// A function; without a name, what went to no function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionStats {
    /// Its name.
    pub name: String,
    /// Requests that wait for a worker now.
    pub waiting: u32,
    /// Answers since the last message by the hundreds of their status.
    pub answers: Vec<(u8, Counts)>,
}

/// What has changed since the last message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Connections of clients that are open now.
    pub connections: u32,
    /// Functions of which there is news.
    pub functions: Vec<FunctionStats>,
    /// Workers of which there is news.
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
