//! Processes by their ids, as /proc shows them.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// Whether it runs: one that has ended and was not reaped yet (by a foster parent) does not.
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The processes that run and were started by this one.
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

/// Whether its main thread sleeps, as the probe's does in `/sleep` and not while it waits for requests.
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

/// Its share of memory in bytes (PSS).
pub(crate) fn memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.trim().parse::<u64>().unwrap() * 1024
}

/// State and parent (proc_pid_stat(5)); the name before them may hold anything, so they are counted
/// from its closing bracket.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
