//! Processes and their state, from /proc.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// Whether the process runs. A process that has ended but that its parent has not reaped does not run.
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The running children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, ppid)| ppid == parent) && runs(*pid))
        .collect()
}

pub(crate) fn wait_until_gone(pids: &[u32], limit: Duration) {
    wait::within(limit, "processes are gone", || {
        pids.iter().all(|pid| !runs(*pid)).then_some(())
    });
}

/// Whether the process's main thread is in clock_nanosleep(2): so is the probe's in `/sleep`, but not while it waits
/// for requests.
pub(crate) fn sleeps(pid: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    number == Some(nix::libc::SYS_clock_nanosleep)
}

pub(crate) fn wait_until_it_sleeps(pid: u32) {
    wait::until("the process sleeps", || sleeps(pid).then_some(()));
}

/// The memory of the process in bytes (proportional set size, PSS).
pub(crate) fn memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.trim().parse::<u64>().unwrap() * 1024
}

/// State and parent of a process (proc_pid_stat(5)). The name before them may contain anything, so fields are counted
/// from its closing bracket.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
