//! Reports the platform's health to the service manager that started it: ready once the platform has responded to its
//! own request, and alive as long as it responds to further checks. This file decides when the next check is due; the
//! runner waits for that time.

use std::time::{Duration, Instant};

use super::log::listed;
use super::{News, Runner};
use crate::endpoint::{Depth, Endpoint};
use crate::notify::Notify;

/// Interval between checks that fail before the platform is ready.
const AGAIN: Duration = Duration::from_millis(100);

/// Interval between checks if the service manager expects no `WATCHDOG=1`.
const SLOW: Duration = Duration::from_secs(30);

/// The service manager, and when to check next.
#[derive(Debug)]
pub(super) struct Beat {
    notify: Notify,
    ready: bool,
    /// When the next check is due. `None` during a check, and before the functions have settled.
    at: Option<Instant>,
    status: String,
}

impl Beat {
    pub(super) fn of(notify: Notify) -> Beat {
        Beat {
            notify,
            ready: false,
            at: None,
            status: String::new(),
        }
    }

    /// When the next check is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }

    /// A third of the watchdog's interval, so that two notifications may be missed.
    fn pause(&self) -> Duration {
        self.notify.watchdog.map_or(SLOW, |allowed| allowed / 3)
    }

    /// Sends the status in words, if it has changed.
    fn describe(&mut self, status: String) {
        if self.status != status {
            self.notify.say(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}

impl Runner {
    /// Starts the checks whether requests are answered. Called when the functions have settled.
    pub(super) fn begin_to_beat(&mut self) {
        if let Some(beat) = &mut self.beat
            && !beat.ready
            && beat.at.is_none()
        {
            beat.at = Some(Instant::now());
        }
    }

    /// Starts a check, if one is due.
    pub(super) fn beat(&mut self, now: Instant) {
        let Some(beat) = &mut self.beat else {
            return;
        };
        if beat.at.is_none_or(|at| at > now) {
            return;
        }
        beat.at = None;
        let depth = match beat.ready {
            true => Depth::Handshake,
            false => Depth::Answer,
        };
        let tls = self.listeners.iter().find(|one| one.scheme == "https");
        let certificates = &self.accepted.certificates.list;
        let endpoint = match (tls, self.listeners.first()) {
            (Some(tls), _) => Endpoint::of(tls.address, Some(certificates)),
            (None, Some(plain)) => Endpoint::of(plain.address, None),
            // The manifest's rules guarantee at least one listener.
            (None, None) => return,
        };
        let news = self.news.clone();
        tokio::task::spawn_local(async move {
            let _ = news.send(News::Asked(endpoint.ask(depth).await));
        });
    }

    /// Handles the result of a check.
    pub(super) fn asked(&mut self, answered: Result<(), String>) {
        let waiting = listed(&self.platform.waiting_for());
        let functions = self.accepted.manifest.functions.len();
        let Some(beat) = &mut self.beat else {
            return;
        };
        let pause = match &answered {
            Ok(()) => beat.pause(),
            Err(_) if beat.ready => beat.pause(),
            Err(_) => AGAIN,
        };
        beat.at = Some(Instant::now() + pause);
        match answered {
            Ok(()) => {
                beat.describe(match waiting.as_str() {
                    "" if functions == 1 => "serving 1 function".to_owned(),
                    "" => format!("serving {functions} functions"),
                    _ => format!("without a worker: {waiting}"),
                });
                let text = match beat.ready {
                    true => "WATCHDOG=1",
                    false => "READY=1\nWATCHDOG=1",
                };
                beat.notify.say(text);
                beat.ready = true;
            }
            Err(why) => {
                beat.describe(format!("not answering: {why}"));
            }
        }
    }

    /// Ends the checks, and reports that the platform stops.
    pub(super) fn stop_beating(&mut self) {
        if let Some(beat) = self.beat.take() {
            beat.notify.say("STOPPING=1");
        }
    }
}
