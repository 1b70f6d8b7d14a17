//! `hearth top`: shows the status every second, the busiest functions first, and restores the terminal at the end.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hearth_supervisor::api::{FunctionStatus, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::args::{SortBy, Top};
use crate::out::{self, Outcome};
use crate::status::{head, table};

/// Interval between two frames.
const FRAME: Duration = Duration::from_secs(1);

/// Control sequences of ECMA-48 and xterm. `ENTER` switches to the alternate screen, hides the cursor and cuts lines
/// at the edge; `LEAVE` reverts that. Each frame is written over the last one, so that nothing flickers.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\r\n";
const END_OF_SCREEN: &str = "\x1b[J";

pub(crate) fn top(args: &Top) -> anyhow::Result<Outcome> {
    let client = args.running.client();
    let mut busy = Busy::default();
    let first: Status = client.get("/v1/status")?;
    let frame = busy.frame(&first, args.sort, Instant::now());
    if args.once || !io::stdout().is_terminal() {
        out::data(frame.join("\n"))?;
        return Ok(Outcome::Done);
    }
    // Signals are blocked before the screen is changed. From here on they are read from a descriptor and end the
    // loop, so that the screen is always restored.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let mut screen = Screen::enter()?;
    screen.show(&frame)?;
    while !told_to_end(&signals)? {
        let status: Status = client.get("/v1/status")?;
        screen.show(&busy.frame(&status, args.sort, Instant::now()))?;
    }
    Ok(Outcome::Done)
}

/// Waits until the next frame is due or a signal arrives. Returns `true` for a signal.
fn told_to_end(signals: &SignalFd) -> anyhow::Result<bool> {
    let mut wanted = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let time = PollTimeout::try_from(FRAME).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut wanted, time)? > 0)
}

/// The terminal's alternate screen. Dropping it shows the normal screen again, unchanged.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Screen> {
        let mut out = io::stdout();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Screen)
    }

    /// Shows as many lines as fit on the screen.
    fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let rows = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        // The last row is left empty: a line break in it would scroll the screen.
        let shown = lines.iter().take(rows.saturating_sub(1));
        let mut frame = HOME.to_owned();
        for line in shown {
            frame.push_str(line);
            frame.push_str(END_OF_LINE);
        }
        frame.push_str(END_OF_SCREEN);
        let mut out = io::stdout();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
    }
}

/// Computes how busy functions are, from one frame to the next.
#[derive(Default)]
struct Busy {
    before: Option<(Instant, HashMap<String, u64>)>,
}

impl Busy {
    fn frame(&mut self, status: &Status, sort: SortBy, now: Instant) -> Vec<String> {
        let counts = status.functions.iter();
        let counts: HashMap<String, u64> = counts
            .map(|one| (one.name.clone(), one.requests.requests))
            .collect();
        let rate = |function: &FunctionStatus| {
            let (then, before) = self.before.as_ref()?;
            let span = now.saturating_duration_since(*then).as_secs_f64();
            let before = before.get(&function.name).copied().unwrap_or(0);
            Some(function.requests.requests.saturating_sub(before) as f64 / span)
        };
        let cpu = |function: &FunctionStatus| {
            let shares = function
                .workers
                .iter()
                .filter_map(|one| one.process.cpu_share);
            shares.sum::<f64>()
        };
        let mut functions: Vec<(f64, &FunctionStatus)> = status
            .functions
            .iter()
            .map(|function| match sort {
                SortBy::Cpu => (cpu(function), function),
                // In the first frame, which has no rates yet, sort by the total number of requests.
                SortBy::Requests => {
                    let all = function.requests.requests as f64;
                    (rate(function).unwrap_or(all), function)
                }
            })
            .collect();
        functions
            .sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.name.cmp(&other.name)));
        let rates: Vec<f64> = status.functions.iter().filter_map(rate).collect();
        let per_second = match rates.is_empty() {
            true => String::new(),
            false => format!("; requests per second: {:.0}", rates.iter().sum::<f64>()),
        };
        self.before = Some((now, counts));
        let mut lines = vec![head(status) + &per_second, String::new()];
        let sorted: Vec<&FunctionStatus> = functions.into_iter().map(|(_, one)| one).collect();
        lines.extend(table(status, &sorted));
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(functions: &[(&str, u64, f64)]) -> Status {
        let functions: Vec<_> = functions
            .iter()
            .map(|(name, requests, cpu)| {
                json!({
                    "name": name, "state": "ready", "version": 1, "routes": [], "restarts": 0,
                    "waiting": 0, "requests": requests, "in_flight": 0, "limits": {},
                    "scale": { "wanted": 1, "min": 1, "max": 1 },
                    "workers": [{ "id": 1, "state": "ready", "for_ms": 1, "version": 1, "pid": 7,
                        "cpu_share": cpu, "cpu_seconds": 1.0, "requests": requests, "in_flight": 0 }],
                })
            })
            .collect();
        serde_json::from_value(json!({
            "service": "s", "manifest": "m", "generation": 1, "version": 1, "rolled_back": false, "listeners": [], "connections": 2,
            "gateway": {}, "functions": functions,
        }))
        .unwrap()
    }

    fn names(lines: &[String]) -> Vec<&str> {
        let lines = lines.iter().skip(2);
        let first = lines.filter_map(|line| line.split(' ').next());
        first.filter(|name| name.len() == 1).collect()
    }

    #[test]
    fn the_busiest_come_first_by_what_they_do_now() {
        let mut busy = Busy::default();
        let start = Instant::now();
        let first = status(&[("a", 100, 0.1), ("b", 5, 0.9), ("c", 5, 0.1)]);
        let frame = busy.frame(&first, SortBy::Cpu, start);
        assert_eq!(names(&frame), ["b", "a", "c"]);
        assert!(frame[0].ends_with("connections: 2"), "{}", frame[0]);
        let second = status(&[("a", 100, 0.1), ("b", 5, 0.9), ("c", 65, 0.1)]);
        let frame = busy.frame(&second, SortBy::Requests, start + FRAME * 2);
        assert_eq!(names(&frame), ["c", "a", "b"]);
        assert!(
            frame[0].ends_with("requests per second: 30"),
            "{}",
            frame[0]
        );
    }
}
