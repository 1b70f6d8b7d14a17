//! How busy the functions are that scale: looked at while there is something to see, and told to the
//! supervisor when it has changed. Decides nothing.
//!
//! A request costs a counter here. The first one after a quiet time rings the bell; from then on the
//! pools are looked at every ten milliseconds until nothing has been asked for through a whole
//! span. So an idle gateway sleeps, and the supervisor hears of a queue within milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_protocol::link::Pressure;
use tokio::sync::Notify;

use crate::pool::Pool;

/// Between two looks: a queue is worth another worker from about this time on.
const LOOK: Duration = Duration::from_millis(10);

/// Looks over which busy time is averaged, and after which it is told.
const SPAN: u32 = 10;

/// Busy time is told in steps of so many thousandths of a handler: what changes by less is no news.
const STEP: u32 = 50;

/// Rung when the first request comes after a quiet time.
pub(crate) type Bell = Arc<Notify>;

/// A pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Requests that came since the last look.
    pub(crate) asked: u32,
    /// How many of them found no worker free.
    pub(crate) queued: u32,
    /// Requests that wait.
    pub(crate) waiting: u32,
    /// Handlers that are busy.
    pub(crate) busy: u32,
    /// What a request takes of a worker's time.
    pub(crate) service: Duration,
    /// It has a worker.
    pub(crate) served: bool,
}

impl Glance {
    fn is_quiet(&self) -> bool {
        (self.asked, self.waiting, self.busy) == (0, 0, 0)
    }
}

/// What was seen of one function since it was told last.
#[derive(Debug, Default)]
struct Span {
    looks: u32,
    busy: u32,
    asked: bool,
    queued: bool,
    /// Of the last whole one.
    mean: u32,
    told: Option<Pressure>,
}

impl Span {
    /// Books a look; what is to be told now is returned, and whether there is nothing more to see.
    fn book(&mut self, function: &str, glance: Glance) -> (Option<Pressure>, bool) {
        self.looks += 1;
        self.busy += glance.busy;
        self.asked |= !glance.is_quiet();
        self.queued |= glance.queued > 0;
        let whole = self.looks >= SPAN;
        // The first look after a quiet time, and every one at which somebody waits.
        let urgent = glance.waiting > 0 || self.told.is_none();
        if !whole && !urgent {
            return (None, false);
        }
        if whole {
            self.mean = self.busy * 1000 / self.looks;
        }
        let least = u32::from(self.asked);
        // What is new has a moment to get done before it is called a queue.
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
            // How long requests take matters only while some wait.
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

/// Looks after all pools that scale.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    bell: Bell,
    spans: HashMap<String, Span>,
    next: Option<Instant>,
}

impl Lookout {
    /// What pools ring.
    pub(crate) fn bell(&self) -> Bell {
        Arc::clone(&self.bell)
    }

    /// Waits until it is time to look. May be dropped and called again.
    pub(crate) async fn due(&self) {
        match self.next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = self.bell.notified() => {}
            },
            None => self.bell.notified().await,
        }
    }

    /// Looks at all pools; what has changed is returned.
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
            // A request that comes just now keeps it awake.
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

    /// What is told of these looks, as `waiting/busy`, and when all is over.
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
