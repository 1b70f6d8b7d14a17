//! Samples the load of the functions that scale, and reports changes to the supervisor. Decides nothing.
//!
//! A request only increments a counter. The first request after an idle time wakes the sampler, which then samples the
//! pools every 10 ms until a whole span has passed without a request that arrives, waits or runs. So an idle gateway
//! sleeps, and the supervisor learns of a queue within milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::link::Pressure;

use crate::load_sample::{Bell, Glance};
use crate::pool::Pool;

/// Interval between two samples. A queue that lasts longer than about this time justifies another worker.
const LOOK: Duration = Duration::from_millis(10);

/// Number of samples in a span. Busy time is averaged over a span, and reported after it.
const SPAN: u32 = 10;

/// Resolution of reported busy time, in thousandths of a handler. A smaller change is not reported.
const STEP: u32 = 50;

/// The samples of one function since the last complete span, and its last report.
#[derive(Debug, Default)]
struct Span {
    looks: u32,
    busy: u32,
    asked: bool,
    queued: bool,
    /// Busy handlers in the last complete span, in thousandths.
    mean: u32,
    told: Option<Pressure>,
}

impl Span {
    /// Adds a sample. Returns the report to send now, if any, and whether sampling can end.
    fn book(&mut self, function: &str, glance: Glance) -> (Option<Pressure>, bool) {
        self.looks += 1;
        self.busy += glance.busy;
        self.asked |= !glance.is_quiet();
        self.queued |= glance.queued > 0;
        let whole = self.looks >= SPAN;
        // The first sample after an idle time, and every sample in which requests wait.
        let urgent = glance.waiting > 0 || self.told.is_none();
        if !whole && !urgent {
            return (None, false);
        }
        if whole {
            self.mean = self.busy * 1000 / self.looks;
        }
        let least = u32::from(self.asked);
        // Requests that have just arrived get a moment to finish before they are reported as a queue.
        let waiting = match self.told.is_none() && glance.served {
            true => 0,
            false => glance.waiting,
        };
        let pressure = Pressure {
            function: function.to_owned(),
            waiting,
            service_us: u32::try_from(glance.service.as_micros()).unwrap_or(u32::MAX),
            busy: self.mean.max(least).next_multiple_of(STEP),
            queued: whole && self.queued,
        };
        let over = whole && !self.asked;
        if whole {
            (self.looks, self.busy) = (0, 0);
            (self.asked, self.queued) = (false, false);
        }
        let same = |told: &Pressure| {
            // The service time matters only while requests wait.
            told.busy == pressure.busy
                && told.queued == pressure.queued
                && told.waiting == pressure.waiting
                && (pressure.waiting == 0 || told.service_us == pressure.service_us)
        };
        let news = !self.told.as_ref().is_some_and(same);
        self.told = Some(pressure.clone());
        (news.then_some(pressure), over)
    }
}

/// Samples all pools that scale.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    bell: Bell,
    spans: HashMap<String, Span>,
    next: Option<Instant>,
}

impl Lookout {
    /// The handle that pools use to wake the sampler.
    pub(crate) fn bell(&self) -> Bell {
        Arc::clone(&self.bell)
    }

    /// Waits until the next sample is due. The future may be dropped and created again.
    pub(crate) async fn due(&self) {
        match self.next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = self.bell.notified() => {}
            },
            None => self.bell.notified().await,
        }
    }

    /// Samples all pools. Returns the reports of those that have changed.
    pub(crate) fn look(
        &mut self,
        pools: &HashMap<String, Arc<Pool>>,
        now: Instant,
    ) -> Vec<Pressure> {
        let mut news = Vec::new();
        self.spans.retain(|name, _| pools.contains_key(name));
        for (name, pool) in pools {
            let Some(glance) = pool.glance(now) else {
                self.spans.remove(name);
                continue;
            };
            let span = self.spans.entry(name.clone()).or_default();
            let (told, over) = span.book(name, glance);
            news.extend(told);
            // A request that has just arrived keeps the sampler awake.
            if over && pool.doze() {
                self.spans.remove(name);
            }
        }
        self.next = (!self.spans.is_empty()).then_some(now + LOOK);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(asked: u32, waiting: u32, busy: u32) -> Glance {
        Glance {
            asked,
            queued: waiting,
            waiting,
            busy,
            service: Duration::from_micros(7),
            served: true,
        }
    }

    /// The reports for these samples as `waiting/busy`, and when sampling ends.
    fn told(looks: &[Glance]) -> String {
        let mut span = Span::default();
        let mut trace = Vec::new();
        for (number, look) in looks.iter().enumerate() {
            let (told, over) = span.book("f", *look);
            if let Some(told) = told {
                trace.push(format!("{number}: {}/{}", told.waiting, told.busy));
            }
            if over {
                trace.push(format!("{number}: over"));
            }
        }
        trace.join(", ")
    }

    #[test]
    fn one_request_is_told_at_once_and_its_end_a_span_later() {
        let mut looks = vec![glance(1, 0, 1)];
        looks.extend([glance(0, 0, 0); 20]);
        assert_eq!(told(&looks), "0: 0/50, 9: 0/100, 19: 0/0, 19: over");
    }

    #[test]
    fn short_requests_that_no_look_sees_still_count() {
        let looks: Vec<Glance> = (0..30).map(|_| glance(3, 0, 0)).collect();
        assert_eq!(told(&looks), "0: 0/50");
    }

    #[test]
    fn who_waits_for_the_first_worker_is_told_at_once() {
        let look = Glance {
            served: false,
            ..glance(1, 1, 0)
        };
        assert_eq!(told(&[look]), "0: 1/50");
    }

    #[test]
    fn a_queue_is_told_at_every_look_that_finds_another() {
        let looks =
            [(1, 1), (2, 1), (2, 1), (0, 1)].map(|(waiting, busy)| glance(1, waiting, busy));
        assert_eq!(told(&looks), "0: 0/50, 1: 2/50");
    }
}
