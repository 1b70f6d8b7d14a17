//! Statistics of requests, as the gateway reports them, for `hearth status` and the metrics.
//!
//! Totals live as long as the platform and survive restarts of the gateway. Current values are those of the gateway's
//! last report.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hearth_protocol::stats::Stats;

use crate::api::{Requests, Status};
use crate::histogram::Histogram;

/// Latencies of a worker are computed over at least this time, and at most twice this time.
const WINDOW: Duration = Duration::from_secs(30);

/// The name under which requests are counted that match no function.
pub const NO_FUNCTION: &str = "";

/// A function's name, and its responses by status class, from 1xx on.
pub type Answers = (String, [Option<Box<Histogram>>; 5]);

/// The statistics. Cheap to clone; for one thread only.
#[derive(Clone, Debug, Default)]
pub struct Figures(Rc<RefCell<Told>>);

/// All reported values.
#[derive(Debug, Default)]
pub struct Told {
    /// Open connections of clients.
    pub connections: u32,
    /// By function name; requests that match no function are under `NO_FUNCTION`.
    pub functions: BTreeMap<String, FunctionFigures>,
    workers: HashMap<u32, WorkerFigures>,
}

/// The statistics of one function.
#[derive(Debug, Default)]
pub struct FunctionFigures {
    /// Requests that wait for a worker.
    pub waiting: u32,
    /// Responses by status class, from 1xx on.
    pub classes: [Option<Box<Histogram>>; 5],
    recent: Recent,
}

#[derive(Debug, Default)]
struct WorkerFigures {
    in_flight: u32,
    requests: u64,
    recent: Recent,
}

/// Durations of the previous period of `WINDOW`, and of the current one.
#[derive(Debug, Default)]
struct Recent {
    since: Option<Instant>,
    last: Option<Box<Histogram>>,
    now: Option<Box<Histogram>>,
}

impl Recent {
    fn turn(&mut self, now: Instant) {
        let age = self
            .since
            .map_or(WINDOW * 2, |since| now.saturating_duration_since(since));
        if age >= WINDOW {
            self.last = self.now.take().filter(|_| age < WINDOW * 2);
            self.since = Some(now);
        }
    }

    fn quantiles(&mut self, now: Instant) -> (Option<f64>, Option<f64>) {
        self.turn(now);
        let mut both = Histogram::default();
        for half in [&self.last, &self.now].into_iter().flatten() {
            both.merge(half);
        }
        (both.quantile_ms(0.5), both.quantile_ms(0.99))
    }
}

impl Figures {
    /// Adds a report of the gateway.
    pub fn take(&self, stats: Stats, now: Instant) {
        let told = &mut *self.0.borrow_mut();
        told.connections = stats.connections;
        for one in stats.functions {
            let function = told.functions.entry(one.name).or_default();
            function.waiting = one.waiting;
            function.recent.turn(now);
            for (class, counts) in &one.answers {
                let class = usize::from(*class).wrapping_sub(1);
                if let Some(all) = function.classes.get_mut(class) {
                    all.get_or_insert_default().add(counts);
                    function.recent.now.get_or_insert_default().add(counts);
                }
            }
        }
        for one in stats.workers {
            let worker = told.workers.entry(one.worker).or_default();
            worker.in_flight = one.in_flight;
            worker.recent.turn(now);
            let counts = one.answers.buckets.iter();
            worker.requests += counts.map(|(_, count)| u64::from(*count)).sum::<u64>();
            worker.recent.now.get_or_insert_default().add(&one.answers);
        }
    }

    /// Removes a worker that has ended.
    pub fn forget(&self, worker: u32) {
        self.0.borrow_mut().workers.remove(&worker);
    }

    /// Resets all current values: the gateway has ended, and all connections and requests with it.
    pub fn gateway_ended(&self) {
        let told = &mut *self.0.borrow_mut();
        told.connections = 0;
        for function in told.functions.values_mut() {
            function.waiting = 0;
        }
        for worker in told.workers.values_mut() {
            worker.in_flight = 0;
        }
    }

    /// Adds the statistics to a status. Removes those of functions and workers that are not in the status.
    pub fn fill(&self, status: &mut Status, now: Instant) {
        let told = &mut *self.0.borrow_mut();
        told.functions.retain(|name, _| {
            name == NO_FUNCTION
                || status
                    .functions
                    .iter()
                    .any(|function| function.name == *name)
        });
        // The gateway's last report about a worker may arrive after the worker's end.
        let functions = status.functions.iter();
        let workers: Vec<u32> = functions
            .flat_map(|one| one.workers.iter().map(|worker| worker.id))
            .collect();
        told.workers.retain(|id, _| workers.contains(id));
        status.connections = told.connections;
        for function in &mut status.functions {
            for worker in &mut function.workers {
                if let Some(figures) = told.workers.get_mut(&worker.id) {
                    let (p50_ms, p99_ms) = figures.recent.quantiles(now);
                    worker.requests = Requests {
                        requests: figures.requests,
                        in_flight: figures.in_flight,
                        p50_ms,
                        p99_ms,
                    };
                }
            }
            let with_workers = function
                .workers
                .iter()
                .map(|one| one.requests.in_flight)
                .sum();
            function.requests.in_flight = with_workers;
            if let Some(figures) = told.functions.get_mut(&function.name) {
                let (p50_ms, p99_ms) = figures.recent.quantiles(now);
                let classes = figures.classes.iter().flatten();
                function.waiting = figures.waiting;
                function.requests = Requests {
                    requests: classes.map(|class| class.count()).sum(),
                    in_flight: with_workers,
                    p50_ms,
                    p99_ms,
                };
            }
        }
    }

    /// All responses, by function.
    pub fn answers(&self) -> Vec<Answers> {
        let told = self.0.borrow();
        let functions = told.functions.iter();
        functions
            .map(|(name, one)| (name.clone(), one.classes.clone()))
            .collect()
    }

    /// All reported values.
    pub fn told(&self) -> Ref<'_, Told> {
        self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use hearth_protocol::stats::{Counts, FunctionStats, WorkerStats, bucket};

    use super::*;

    fn counts(micros: u64, count: u32) -> Counts {
        Counts {
            sum_us: micros * u64::from(count),
            buckets: vec![(bucket(micros) as u8, count)],
        }
    }

    fn stats(micros: u64, count: u32, in_flight: u32) -> Stats {
        Stats {
            connections: 3,
            functions: vec![FunctionStats {
                name: "f".to_owned(),
                waiting: 2,
                answers: vec![(2, counts(micros, count)), (5, counts(micros, 1))],
            }],
            workers: vec![WorkerStats {
                worker: 1,
                in_flight,
                answers: counts(micros, count),
            }],
        }
    }

    #[test]
    fn totals_stay_and_latencies_are_those_of_the_last_minute() {
        let (figures, start) = (Figures::default(), Instant::now());
        figures.take(stats(1000, 10, 4), start);
        figures.take(stats(1000, 10, 5), start + WINDOW / 2);
        let worker = |now| {
            let told = &mut *figures.0.borrow_mut();
            let worker = told.workers.get_mut(&1).unwrap();
            let (p50, _) = worker.recent.quantiles(now);
            (worker.requests, worker.in_flight, p50)
        };
        let (requests, in_flight, p50) = worker(start + WINDOW / 2);
        assert_eq!((requests, in_flight), (20, 5));
        assert!((0.75..=1.0).contains(&p50.unwrap()), "{p50:?}");
        assert!(worker(start + WINDOW * 3 / 2).2.is_some());
        assert_eq!(worker(start + WINDOW * 4), (20, 5, None));
        let class = |place: usize| {
            let told = figures.told();
            told.functions["f"].classes[place]
                .as_ref()
                .map(|one| one.count())
        };
        assert_eq!((class(1), class(3), class(4)), (Some(20), None, Some(2)));
        assert_eq!(figures.told().functions["f"].waiting, 2);
        figures.gateway_ended();
        assert_eq!(worker(start + WINDOW * 4), (20, 0, None));
        assert_eq!(figures.told().connections, 0);
        assert_eq!(class(1), Some(20));
        figures.forget(1);
        assert!(figures.told().workers.is_empty());
    }
}
