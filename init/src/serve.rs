//! What init does once all is started: it waits. For children that end, words of the supervisor, signals, and the
//! time to feed the watchdog.

mod button;
mod child;

pub use child::{Children, Service};

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hearth_sys::datagram;
use hearth_sys::wait::{Waiting, wait};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use button::Buttons;

use crate::act::{chain, clock, data, mounts, text};
use crate::health::{Health, Verdict};
use crate::kernel_log::{KernelLog, Level};
use crate::place::NET_RECORD;
use crate::plan::Data;
use crate::restarts::{Next, Restarts};
use crate::run::Runner;
use crate::summary::{self, Network};

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It starts again.
    Restart,
    /// It switches itself off.
    PowerOff,
    /// It stands still, with its power on.
    Halt,
}

/// The longest that nothing is looked at: a third of the time after which the hardware bites.
const TURN: Duration = Duration::from_secs(5);

/// How long the summary waits for an address that is still being asked for.
const ADDRESS: Duration = Duration::from_secs(5);

/// How often a time that is known to have been is saved.
const SAVE: Duration = Duration::from_secs(3600);

/// How often data is looked at: one small file is read.
const DATA_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The signals that mean something; all others are nothing to PID 1.
const SIGNALS: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Holds the signals back until somebody waits for them. The kernel drops what PID 1 neither handles nor blocks.
///
/// # Errors
/// What sigprocmask(2) or signalfd(2) says.
pub fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    SIGNALS.into_iter().for_each(|signal| set.add(signal));
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// What a signal asks for.
fn wish(signal: Signal) -> Option<End> {
    match signal {
        Signal::SIGTERM | Signal::SIGINT => Some(End::Restart),
        Signal::SIGUSR2 => Some(End::PowerOff),
        Signal::SIGUSR1 => Some(End::Halt),
        _ => None,
    }
}

/// Serves until the machine shall end.
pub fn serve(runner: &mut Runner, signals: &SignalFd) -> End {
    let now = runner.now();
    let mut state = State {
        health: Health::new(now, runner.feeder.is_there()),
        starved: false,
        ready: false,
        status: String::new(),
        network: None,
        show_at: Duration::MAX,
        shown: None,
        looked: now,
        failed: false,
        saved: now,
        saving: None,
    };
    let mut buttons = Buttons::find();
    loop {
        let now = runner.now();
        if let Some(end) = state.turn(runner, now) {
            return end;
        }
        let due = runner.children.due().unwrap_or(Duration::MAX);
        let due = due.min(state.show_at).saturating_sub(now);
        if let Some(end) = hear(runner, &mut state, (signals, &mut buttons), due.min(TURN)) {
            return end;
        }
    }
}

/// Waits for something to happen, and takes it in.
fn hear(
    runner: &mut Runner,
    state: &mut State,
    (signals, buttons): (&SignalFd, &mut Buttons),
    limit: Duration,
) -> Option<End> {
    {
        let mut set = vec![Waiting::read(signals.as_fd())];
        set.extend(runner.children.descriptors().map(Waiting::read));
        set.extend(buttons.descriptors().map(Waiting::read));
        // What cannot be waited for is looked at every time.
        if let Err(error) = wait(&mut set, Some(limit)) {
            runner.log.error(&format!("cannot wait: {error}"));
            thread::sleep(Duration::from_millis(100));
        }
    }
    runner.children.take_output(&mut runner.log);
    while let Some(word) = runner.children.word() {
        state.heard(runner, &word);
    }
    let mut end = None;
    if buttons.pressed() {
        runner.log.notice("the power button was pressed");
        end = Some(End::PowerOff);
    }
    while let Ok(Some(info)) = signals.read_signal() {
        let signal = i32::try_from(info.ssi_signo).map(Signal::try_from);
        if let Ok(Ok(signal)) = signal
            && let Some(wished) = wish(signal)
        {
            runner
                .log
                .notice(&format!("{signal} from process {}", info.ssi_pid));
            end = end.or(Some(wished));
        }
    }
    end.or_else(|| state.reap(runner))
}

/// Waits for whoever has ended: children, and those whose parents have died. Who they were, and how.
pub(crate) fn ended() -> Option<(i32, String)> {
    let (pid, status) = hearth_sys::spawn::reap()?;
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was ended by {signal}"),
            // Those without a name (signal(7), real-time signals).
            Err(_) => format!("was ended by signal {number}"),
        },
        (None, None) => format!("ended: {status}"),
    };
    Some((pid, how))
}

/// What is known while the machine serves.
#[derive(Debug)]
struct State {
    health: Health,
    starved: bool,
    ready: bool,
    /// What the supervisor says of itself.
    status: String,
    network: Option<Network>,
    /// Without an address the summary is shown then.
    show_at: Duration,
    /// The summary that was shown last.
    shown: Option<Vec<String>>,
    /// When data was looked at, ...
    looked: Duration,
    /// ... and whether it has failed.
    failed: bool,
    /// When the clock was saved, ...
    saved: Duration,
    /// ... and whoever did, or still does.
    saving: Option<JoinHandle<()>>,
}

impl State {
    /// What time asks for.
    fn turn(&mut self, runner: &mut Runner, now: Duration) -> Option<End> {
        match self.health.judge(now) {
            Verdict::Feed => runner.feeder.feed(),
            Verdict::Starve(reason) if !self.starved => {
                self.starved = true;
                let told = format!("{reason}: the watchdog is not fed any more");
                runner.log.error(&told);
            }
            Verdict::Starve(_) => {}
            Verdict::Restart(reason) => {
                runner.log.error(&format!("{reason}: restart"));
                return Some(End::Restart);
            }
        }
        runner.children.start_due(now, &mut runner.log);
        let record = text(NET_RECORD, 64 * 1024);
        let network = record.as_deref().map(Network::read);
        if network.as_ref().is_some_and(|told| told.synchronised) {
            runner.raise_floor();
        }
        if network != self.network {
            self.network = network;
            self.show(runner, now);
        }
        if now >= self.show_at {
            self.show(runner, now);
        }
        if now >= self.looked + DATA_CHECK_INTERVAL {
            self.looked = now;
            self.look_at_data(runner, now);
        }
        if now >= self.saved + SAVE {
            self.saved = now;
            self.save_clock(runner.known_time());
        }
        None
    }

    /// Says that data has failed, once.
    fn look_at_data(&mut self, runner: &mut Runner, now: Duration) {
        let failed = runner.partition.as_deref().is_some_and(data::has_failed);
        if failed && !self.failed {
            self.failed = true;
            self.health.data_failed();
            runner.add_reason(
                "DATA HAS FAILED: a fault was found in its file system; a restart repairs it",
            );
            self.show(runner, now);
        }
    }

    /// Whether the platform, which died too often, did so for its data: then memory takes its place, once, so that the
    /// image's functions are served until the machine is restarted.
    fn goes_on_in_memory(&mut self, runner: &mut Runner, now: Duration) -> bool {
        self.look_at_data(runner, now);
        if !self.failed || runner.partition.take().is_none() {
            return false;
        }
        if let Err(error) = mounts::memory_as_data().and_then(|()| data::directories()) {
            runner.log.error(&chain(&error));
            return false;
        }
        runner.data = Data::Memory;
        runner.add_reason("NO DATA, nothing is kept: the disk does not work");
        let supervisor = &mut runner.children.supervisor;
        supervisor.restarts = Restarts::default();
        supervisor.start_at = Some(now);
        true
    }

    /// Saves a time, in a thread that may wait for the disk as PID 1 may not.
    fn save_clock(&mut self, time: u64) {
        let waits = |saving: &JoinHandle<()>| !saving.is_finished();
        if self.saving.as_ref().is_some_and(waits) {
            return;
        }
        let work = move || {
            if let Err(error) = clock::save(time) {
                let told = format!("the time was not saved: {}", chain(&error));
                KernelLog::open("hearth-init").error(&told);
            }
        };
        let thread = thread::Builder::new().name("clock".to_owned());
        // Without one it is saved an hour later, or at the end.
        self.saving = thread.spawn(work).ok();
    }

    /// Takes in a datagram of the supervisor (sd_notify(3)).
    fn heard(&mut self, runner: &mut Runner, message: &str) {
        let (now, mut ready) = (runner.now(), false);
        for line in message.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => ready = true,
                Some(("WATCHDOG", "1")) => self.health.word(now),
                Some(("STATUS", status)) if self.status != status => {
                    self.status = status.chars().take(200).collect();
                    let said = format!("the platform: {status}");
                    runner.log.say(Level::Info, &said);
                }
                _ => {}
            }
        }
        if ready {
            self.health.ready(now);
            runner.children.supervisor.restarts.ready();
            if !self.ready {
                self.ready = true;
                let took = now.as_millis();
                let said = format!("the platform is ready ({took} ms after init)");
                runner.log.notice(&said);
                self.show_at = now + ADDRESS;
            }
            self.show(runner, now);
        }
    }

    /// Reaps everybody, and decides what follows a death.
    fn reap(&mut self, runner: &mut Runner) -> Option<End> {
        while let Some((pid, how)) = ended() {
            let now = runner.now();
            runner.children.take_output(&mut runner.log);
            let Some(service) = runner.children.of(pid) else {
                continue;
            };
            let (name, vital) = (service.name, service.vital);
            let last = service.buried();
            runner.log.error(&format!("{name} {how}{last}"));
            if vital {
                self.ready = false;
                self.health.died(now);
            }
            match service.restarts.died(now, vital) {
                Next::Start(then) => service.start_at = Some(then),
                Next::GiveUp if self.goes_on_in_memory(runner, now) => {}
                Next::GiveUp => {
                    runner.log.error(&format!("{name} died too often: restart"));
                    return Some(End::Restart);
                }
            }
        }
        None
    }

    /// Says who this is, if that has changed.
    fn show(&mut self, runner: &mut Runner, now: Duration) {
        let reached = |network: &Network| !network.addresses.is_empty();
        if !self.ready || (!self.network.as_ref().is_some_and(reached) && now < self.show_at) {
            return;
        }
        self.show_at = Duration::MAX;
        let lines = summary::lines(runner, self.network.as_ref(), &self.status);
        if self.shown.as_ref() != Some(&lines) {
            for line in &lines {
                runner.log.notice(line);
            }
            self.shown = Some(lines);
        }
    }
}

/// A datagram's text, if the supervisor sent it.
pub(crate) fn text_of(
    datagram: &datagram::Datagram,
    room: &[u8],
    supervisor: u32,
) -> Option<String> {
    let from = datagram.sender?.process;
    let text = room.get(..datagram.length)?;
    (from == supervisor && !datagram.cut).then(|| String::from_utf8_lossy(text).into_owned())
}
