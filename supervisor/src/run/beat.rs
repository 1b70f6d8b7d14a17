//! The platform's own health, told to whoever started it: ready once it has answered a request of its own,
//! and alive as long as it goes on answering. The time of a beat is made in here, for others to wait for.

use std::time::{Duration, Instant};

use super::log::listed;
use super::{News, Runner};
use crate::endpoint::{Depth, Endpoint};
use crate::notify::Notify;

/// Between two questions that went unanswered before the platform was ready.
const AGAIN: Duration = Duration::from_millis(100);

/// Between two beats where nobody asked for any.
const SLOW: Duration = Duration::from_secs(30);

/// Whom to tell, and when next.
#[derive(Debug)]
pub(super) struct Beat {
    notify: Notify,
    ready: bool,
    /// When to ask next; none while it is asked, and before the workers stand.
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

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }

    /// A third of what is allowed: two beats may be missed.
    fn pause(&self) -> Duration {
        self.notify.watchdog.map_or(SLOW, |allowed| allowed / 3)
    }

    /// Tells how it stands in words, if that has changed.
    fn describe(&mut self, status: String) {
        if self.status != status {
            self.notify.say(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}

impl Runner {
    /// The workers stand: from now on it is asked whether requests are answered.
    pub(super) fn begin_to_beat(&mut self) {
        if let Some(beat) = &mut self.beat
            && !beat.ready
            && beat.at.is_none()
        {
            beat.at = Some(Instant::now());
        }
    }

    /// Asks, if it is time.
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
            // The manifest's rules leave at least one.
            (None, None) => return,
        };
        let news = self.news.clone();
        tokio::task::spawn_local(async move {
            let _ = news.send(News::Asked(endpoint.ask(depth).await));
        });
    }

    /// What came of it.
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

    /// It ends now.
    pub(super) fn stop_beating(&mut self) {
        if let Some(beat) = self.beat.take() {
            beat.notify.say("STOPPING=1");
        }
    }
}
