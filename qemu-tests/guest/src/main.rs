//! The init of a machine that tests run in: PID 1 from the kernel's start to switching off. It sets up the
//! environment that a program finds on the appliance, runs one program, and reports how it ended. It is not the
//! appliance's own init.

mod loopback;
mod root;

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use hearth_guest::{ENDED, JOB, Job, NOTHING, STARTED};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, getpid, sync};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--nothing") {
        return ExitCode::from(NOTHING);
    }
    if getpid() != Pid::from_raw(1) {
        say("guest-init: is the init of a test's machine, and nothing else");
        return ExitCode::FAILURE;
    }
    let ended = match run() {
        Ok(ended) => ended,
        Err(error) => format!("an error: {error:#}"),
    };
    hush();
    say(&format!("{ENDED}{ended}"));
    match off() {
        Ok(never) => match never {},
        Err(error) => say(&format!("guest-init: cannot switch off: {error:#}")),
    }
    // The end of PID 1 makes the kernel panic, which also ends the machine.
    ExitCode::FAILURE
}

/// Runs the job, and returns how it ended.
fn run() -> anyhow::Result<String> {
    root::change().context("cannot leave the initramfs")?;
    root::furnish()?;
    loopback::up().context("cannot bring the loopback interface up")?;
    let text = fs::read_to_string(JOB).with_context(|| format!("cannot read {JOB}"))?;
    let job = Job::from_text(&text).with_context(|| format!("{JOB} is no job"))?;
    let (program, args) = job.words.split_first().context("the job has no words")?;
    say(STARTED);
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(job.env)
        .current_dir("/")
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let child = Pid::from_raw(child.id().try_into()?);
    let status = reap(Some(child))?.context("the job cannot be waited for")?;
    // Kill the processes that the job has left behind.
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) => ensure!(reap(None)?.is_none(), "nobody was waited for"),
        Err(Errno::ESRCH) => {}
        Err(error) => return Err(error).context("cannot kill what the job left behind"),
    }
    Ok(status)
}

/// Waits for children, including those whose parents have died, until there are none left or `until` has ended.
/// Returns how `until` ended.
fn reap(until: Option<Pid>) -> anyhow::Result<Option<String>> {
    loop {
        let ended = match wait() {
            Ok(WaitStatus::Exited(pid, status)) => (pid, format!("status {status}")),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal {signal}")),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => return Ok(None),
            Err(error) => return Err(error).context("cannot wait"),
        };
        if until == Some(ended.0) {
            return Ok(Some(ended.1));
        }
    }
}

/// Keeps kernel messages off the console, where they could interrupt lines of this program.
fn hush() {
    // If /proc is missing, the machine has a fault that is reported below.
    let _ = fs::write("/proc/sys/kernel/printk", "1");
}

fn off() -> anyhow::Result<Infallible> {
    sync();
    Ok(reboot(RebootMode::RB_POWER_OFF)?)
}

/// Prints a line, after a newline in case the last output did not end with one.
fn say(line: &str) {
    // There is no other way to report the error.
    let _ = writeln!(std::io::stdout(), "\n{line}");
}
