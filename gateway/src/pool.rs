//! A function's workers and the requests that use them: leases on the least busy worker, and a bounded queue.
//!
//! All gateway threads share a pool under one lock that is held only briefly. The pool knows no sockets: a lease names
//! a worker, and the thread that holds the lease finds its own channel to that worker.

mod worker;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::load_sample::{Bell, Glance};
use crate::tally::Classes;
use worker::UNMEASURED;
pub use worker::Worker;

/// The workers of one function, and the requests that wait for one of them.
#[derive(Debug)]
pub struct Pool {
    state: Mutex<State>,
    /// Counts the function's responses.
    pub answers: Classes,
}

#[derive(Debug, Default)]
struct State {
    workers: Vec<Member>,
    waiting: VecDeque<Waiting>,
    queue: usize,
    /// The function is no longer served.
    closed: bool,
    /// Why requests are refused. It is set if the function has no worker and gets none for now.
    refused: Option<Arc<str>>,
    /// Present if the number of workers follows the load.
    gauge: Option<Gauge>,
}

/// The counters that [`crate::pressure`] samples.
#[derive(Debug)]
struct Gauge {
    bell: Bell,
    /// The sampler is already running for this pool.
    awake: bool,
    asked: u32,
    queued: u32,
}

#[derive(Debug)]
struct Waiting {
    turn: oneshot::Sender<Lease>,
    until: Instant,
}

#[derive(Debug)]
struct Member {
    worker: Arc<Worker>,
    in_flight: u32,
}

/// The right to have one request in progress on one worker. Dropping the lease returns it.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    worker: Arc<Worker>,
    returned: bool,
    streams: bool,
    probe: bool,
}

/// The result of a request for a lease.
#[derive(Debug)]
pub enum Place {
    /// A worker is available.
    Now(Lease),
    /// All workers are busy. The lease arrives through this channel.
    Queued(oneshot::Receiver<Lease>),
    /// All workers are busy, and the queue is full.
    Full,
    /// The function is no longer served.
    Closed,
    /// The function cannot be started, for this reason.
    Refused(Arc<str>),
}

impl Lease {
    /// The worker that the lease is for.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// The pool that the lease belongs to.
    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// Records that the response has begun and is not complete. Until it is, the worker gets no requests in advance.
    pub fn streams(&mut self) {
        self.streams = true;
        self.worker.streaming.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.worker.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe {
            self.worker.probed.store(false, Ordering::Relaxed);
        }
        if self.streams {
            self.worker.streaming.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.returned {
            self.pool.give_back(&self.worker);
        }
    }
}

impl Pool {
    /// Creates a pool without workers. At most `queue` requests may wait for one.
    pub fn new(queue: usize) -> Pool {
        let state = State {
            queue,
            ..State::default()
        };
        Pool {
            state: Mutex::new(state),
            answers: Classes::default(),
        }
    }

    /// Replaces the workers and the length of the queue. Leases on workers that are removed stay valid.
    pub fn set(self: &Arc<Self>, workers: Vec<Arc<Worker>>, queue: usize) {
        let mut state = self.lock();
        let old = std::mem::take(&mut state.workers);
        state.queue = queue;
        if !workers.is_empty() {
            state.refused = None;
        }
        state.workers = workers
            .into_iter()
            .map(|worker| {
                let known = old.iter().find(|member| member.worker.id == worker.id);
                let in_flight = known.map_or(0, |member| member.in_flight);
                Member { worker, in_flight }
            })
            .collect();
        drop(state);
        self.serve_waiting();
    }

    /// Leases the least busy worker, or queues the request for at most `limit`.
    pub fn lease(self: &Arc<Self>, now: Instant, limit: Duration) -> Place {
        let mut state = self.lock();
        if state.closed {
            return Place::Closed;
        }
        if let Some(why) = &state.refused {
            return Place::Refused(Arc::clone(why));
        }
        if let Some(gauge) = &mut state.gauge {
            gauge.asked = gauge.asked.saturating_add(1);
            if !gauge.awake {
                gauge.awake = true;
                gauge.bell.notify_one();
            }
        }
        if let Some(worker) = state.take_least_busy(now) {
            return Place::Now(self.lease_on(worker));
        }
        if state.waiting.len() >= state.queue {
            state.waiting.retain(|waiting| !waiting.turn.is_closed());
            if state.waiting.len() >= state.queue {
                return Place::Full;
            }
        }
        if let Some(gauge) = &mut state.gauge {
            gauge.queued = gauge.queued.saturating_add(1);
        }
        let (turn, receiver) = oneshot::channel();
        state.waiting.push_back(Waiting {
            turn,
            until: now + limit,
        });
        Place::Queued(receiver)
    }

    /// Sets whether the number of workers follows the load. If `bell` is given, it wakes the sampler when a request
    /// arrives.
    pub(crate) fn scale(&self, bell: Option<Bell>) {
        let mut state = self.lock();
        if bell.is_none() || state.gauge.is_none() {
            state.gauge = bell.map(|bell| Gauge {
                // If requests wait already, the sampler starts at once.
                awake: !state.waiting.is_empty(),
                bell,
                asked: 0,
                queued: 0,
            });
            if let Some(gauge) = state.gauge.as_ref().filter(|gauge| gauge.awake) {
                gauge.bell.notify_one();
            }
        }
    }

    /// Samples the load. Returns `None` if the number of workers does not follow the load or the sampler sleeps.
    pub(crate) fn glance(&self, now: Instant) -> Option<Glance> {
        let mut state = self.lock();
        let gauge = state.gauge.as_mut().filter(|gauge| gauge.awake)?;
        let asked = std::mem::take(&mut gauge.asked);
        let queued = std::mem::take(&mut gauge.queued);
        state.waiting.retain(|waiting| !waiting.turn.is_closed());
        let members = state.workers.iter();
        let busy = members
            .clone()
            .map(|member| member.in_flight.min(member.worker.concurrency));
        let services = members.map(|member| {
            let measured = member.worker.service_nanos.load(Ordering::Relaxed);
            let measured = Duration::from_nanos(measured.into());
            match member.in_flight {
                0 => measured,
                _ => measured.max(member.worker.stands(now)),
            }
        });
        let count = u32::try_from(state.workers.len()).unwrap_or(u32::MAX);
        Some(Glance {
            asked,
            queued,
            waiting: u32::try_from(state.waiting.len()).unwrap_or(u32::MAX),
            busy: busy.sum(),
            served: count > 0,
            service: match count {
                0 => UNMEASURED,
                count => services.sum::<Duration>() / count,
            },
        })
    }

    /// Stops sampling until the next request. Returns `false` if a request has just arrived or still waits.
    pub(crate) fn doze(&self) -> bool {
        let mut state = self.lock();
        let State { gauge, waiting, .. } = &mut *state;
        match gauge {
            Some(gauge) if gauge.asked > 0 || !waiting.is_empty() => false,
            Some(gauge) => {
                gauge.awake = false;
                true
            }
            None => true,
        }
    }

    /// With a reason, refuses all requests, including those that wait. Without one, lets requests wait for a worker
    /// again. A pool that has workers ignores the reason.
    pub fn refuse(&self, why: Option<String>) {
        let mut state = self.lock();
        state.refused = why.filter(|_| state.workers.is_empty()).map(Arc::from);
        if state.refused.is_some() {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            drop(waiting);
        }
    }

    /// Why requests are refused, if they are.
    pub fn refused(&self) -> Option<Arc<str>> {
        self.lock().refused.clone()
    }

    /// Marks the function as no longer served. Requests in the queue fail.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.workers.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    /// Removes requests from the queue that have waited too long. Returns how many still wait.
    pub fn expire(&self, now: Instant) -> usize {
        let mut state = self.lock();
        state.waiting.retain(|waiting| waiting.until > now);
        state.waiting.len()
    }

    /// Whether `worker` is in this pool and has no request.
    pub fn is_idle(&self, worker: u32) -> bool {
        let state = self.lock();
        let mut members = state.workers.iter();
        members.any(|member| member.worker.id == worker && member.in_flight == 0)
    }

    /// Whether `worker` is in this pool.
    pub(crate) fn has(&self, worker: u32) -> bool {
        let state = self.lock();
        state.workers.iter().any(|one| one.worker.id == worker)
    }

    /// Leases this worker for a probe, even if it has other requests. Returns `None` if it has not answered the
    /// previous probe.
    pub(crate) fn lease_for_probe(self: &Arc<Self>, worker: &Arc<Worker>) -> Option<Lease> {
        if worker.probed.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        let mut members = state.workers.iter_mut();
        if let Some(member) = members.find(|one| one.worker.id == worker.id) {
            if member.in_flight == 0 {
                worker.progressed(Instant::now());
            }
            member.in_flight += 1;
        }
        drop(state);
        let mut lease = self.lease_on(Arc::clone(worker));
        lease.probe = true;
        Some(lease)
    }

    /// Whether the worker has requests in addition to a probe, and has made no progress for `time`.
    pub(crate) fn is_busy(&self, worker: &Worker, time: Duration) -> bool {
        let state = self.lock();
        let mut members = state.workers.iter();
        let member = members.find(|one| one.worker.id == worker.id);
        member.is_some_and(|one| one.in_flight > 1) && worker.stands(Instant::now()) >= time
    }

    /// Number of requests in the queue.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn give_back(self: &Arc<Self>, worker: &Worker) {
        let mut state = self.lock();
        state.release(worker.id);
        if state.waiting.is_empty() {
            return;
        }
        drop(state);
        self.serve_waiting();
    }

    /// Gives available workers to the requests that have waited longest.
    fn serve_waiting(self: &Arc<Self>) {
        let now = Instant::now();
        loop {
            let mut state = self.lock();
            if state.waiting.is_empty() {
                return;
            }
            let Some(worker) = state.take_least_busy(now) else {
                return;
            };
            let waiting = state.waiting.pop_front();
            drop(state);
            let lease = self.lease_on(worker);
            // If the request has gone, its lease is released here. `Lease::drop` would call this function again, once
            // for each such request.
            if let Err(mut lease) = waiting.map_or(Ok(()), |waiting| waiting.turn.send(lease)) {
                lease.returned = true;
                self.lock().release(lease.worker.id);
            }
        }
    }

    fn lease_on(self: &Arc<Self>, worker: Arc<Worker>) -> Lease {
        worker.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease {
            pool: Arc::clone(self),
            worker,
            returned: false,
            streams: false,
            probe: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_least_busy(&mut self, now: Instant) -> Option<Arc<Worker>> {
        let member = self
            .workers
            .iter_mut()
            .filter(|member| member.in_flight < member.worker.capacity(now))
            .min_by_key(|member| member.in_flight)?;
        if member.in_flight == 0 {
            member.worker.progressed(now);
        }
        member.in_flight += 1;
        Some(Arc::clone(&member.worker))
    }

    fn release(&mut self, worker: u32) {
        // A worker that is no longer a member is not counted.
        if let Some(member) = self.workers.iter_mut().find(|one| one.worker.id == worker) {
            // A probe that began before the worker was a member was not counted.
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_protocol::Codec;

    use super::worker::PREFETCH;
    use super::*;

    fn pool(workers: &[u32], concurrency: u32, queue: usize) -> Arc<Pool> {
        let pool = Arc::new(Pool::new(queue));
        let worker = |id: &u32| Arc::new(Worker::new(*id, Codec::Json, concurrency));
        pool.set(workers.iter().map(worker).collect(), queue);
        pool
    }

    fn now(pool: &Arc<Pool>) -> Lease {
        match pool.lease(Instant::now(), Duration::from_secs(1)) {
            Place::Now(lease) => lease,
            other => panic!("no worker was free: {other:?}"),
        }
    }

    #[test]
    fn leases_go_to_the_least_busy() {
        let pool = pool(&[1, 2], 2, 10);
        let ids: Vec<u32> = (0..4)
            .map(|_| now(&pool))
            .map(|lease| {
                let id = lease.worker().id;
                std::mem::forget(lease);
                id
            })
            .collect();
        assert_eq!(ids, [1, 2, 1, 2]);
    }

    #[test]
    fn beyond_the_workers_requests_wait_and_beyond_the_queue_they_are_refused() {
        let pool = pool(&[1], 1, 1);
        let lease = now(&pool);
        let Place::Queued(mut waiting) = pool.lease(Instant::now(), Duration::from_secs(1)) else {
            panic!("did not wait")
        };
        assert!(matches!(
            pool.lease(Instant::now(), Duration::from_secs(1)),
            Place::Full
        ));
        drop(lease);
        assert_eq!(waiting.try_recv().unwrap().worker().id, 1);
    }

    #[test]
    fn who_waits_too_long_loses_the_place() {
        let pool = pool(&[1], 1, 2);
        let _lease = now(&pool);
        let start = Instant::now();
        let Place::Queued(mut short) = pool.lease(start, Duration::from_millis(10)) else {
            panic!("did not wait")
        };
        let Place::Queued(_long) = pool.lease(start, Duration::from_millis(30)) else {
            panic!("did not wait")
        };
        assert_eq!(pool.expire(start + Duration::from_millis(5)), 2);
        assert_eq!(pool.expire(start + Duration::from_millis(20)), 1);
        assert!(matches!(
            short.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
    }

    #[test]
    fn a_place_left_in_the_queue_is_free_again_and_a_lease_passes_by_those_gone() {
        let pool = pool(&[1], 1, 2);
        let lease = now(&pool);
        let Place::Queued(gone) = pool.lease(Instant::now(), Duration::from_secs(1)) else {
            panic!("did not wait")
        };
        let Place::Queued(mut stays) = pool.lease(Instant::now(), Duration::from_secs(1)) else {
            panic!("did not wait")
        };
        drop(gone);
        drop(lease);
        drop(stays.try_recv().unwrap());
        drop(now(&pool));
    }

    #[test]
    fn a_fast_worker_gets_more_and_a_slow_one_no_longer() {
        let pool = pool(&[1], 1, 100);
        let first = now(&pool);
        assert!(matches!(
            pool.lease(Instant::now(), Duration::from_secs(1)),
            Place::Queued(_)
        ));
        for _ in 0..64 {
            first
                .worker()
                .served(1, Duration::from_micros(10), Instant::now());
        }
        let more: Vec<Lease> = (0..PREFETCH).map(|_| now(&pool)).collect();
        assert!(matches!(
            pool.lease(Instant::now(), Duration::from_secs(1)),
            Place::Queued(_)
        ));
        for _ in 0..64 {
            first
                .worker()
                .served(1, Duration::from_millis(5), Instant::now());
        }
        drop(more);
        assert!(matches!(
            pool.lease(Instant::now(), Duration::from_secs(1)),
            Place::Queued(_)
        ));
    }

    #[test]
    fn a_function_that_cannot_be_started_refuses_those_who_wait_and_those_who_come_until_it_has_a_worker()
     {
        let pool = pool(&[], 1, 10);
        let ask = || pool.lease(Instant::now(), Duration::from_secs(1));
        let Place::Queued(mut waiting) = ask() else {
            panic!("did not wait")
        };
        pool.refuse(Some("no key".to_owned()));
        assert!(waiting.try_recv().is_err());
        assert!(matches!(ask(), Place::Refused(why) if &*why == "no key"));
        pool.refuse(None);
        assert!(matches!(ask(), Place::Queued(_)));
        pool.refuse(Some("no key".to_owned()));
        pool.set(vec![Arc::new(Worker::new(2, Codec::Json, 1))], 10);
        drop(now(&pool));
    }

    #[test]
    fn a_worker_is_asked_one_question_at_a_time_and_is_busy_only_with_other_requests() {
        let pool = pool(&[1], 1, 10);
        let request = now(&pool);
        let worker = Arc::clone(request.worker());
        let question = pool.lease_for_probe(&worker).unwrap();
        assert!(pool.lease_for_probe(&worker).is_none());
        assert!(pool.is_busy(&worker, Duration::ZERO));
        assert!(!pool.is_busy(&worker, Duration::from_secs(5)));
        drop(request);
        assert!(!pool.is_busy(&worker, Duration::ZERO));
        drop(question);
        assert!(pool.is_idle(1));
        assert!(pool.lease_for_probe(&worker).is_some());
    }

    #[test]
    fn the_bell_rings_for_the_first_request_after_a_quiet_time() {
        let pool = pool(&[1], 1, 10);
        let bell = Bell::default();
        pool.scale(Some(Arc::clone(&bell)));
        let rung = || {
            let mut listening = std::pin::pin!(bell.notified());
            listening.as_mut().enable()
        };
        assert!(pool.glance(Instant::now()).is_none() && !rung());
        let lease = now(&pool);
        assert!(rung());
        let Place::Queued(_waiting) = pool.lease(Instant::now(), Duration::from_secs(1)) else {
            panic!("did not wait")
        };
        assert!(!rung());
        let later = Instant::now() + Duration::from_millis(30);
        let glance = pool.glance(later).unwrap();
        assert_eq!((glance.asked, glance.waiting, glance.busy), (2, 1, 1));
        assert!(glance.service >= Duration::from_millis(30));
        assert!(!pool.doze(), "somebody waits");
        drop(lease);
        drop(_waiting);
        let _ = pool.glance(Instant::now());
        assert!(pool.doze());
        drop(now(&pool));
        assert!(rung());
    }

    #[test]
    fn a_worker_that_leaves_gets_nothing_and_its_leases_may_still_end() {
        let pool = pool(&[1], 1, 10);
        let lease = now(&pool);
        pool.set(vec![], 10);
        drop(lease);
        let Place::Queued(mut waiting) = pool.lease(Instant::now(), Duration::from_secs(1)) else {
            panic!("did not wait")
        };
        pool.set(vec![Arc::new(Worker::new(2, Codec::Json, 1))], 10);
        assert_eq!(waiting.try_recv().unwrap().worker().id, 2);
    }
}
