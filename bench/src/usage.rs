//! CPU time and memory of processes, as the kernel reports them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Description of the CPU time measurement for the report.
pub(crate) const CLOCK: &str = "each process's CPU clock (clock_getcpuclockid(3)): user and system \
    time in ns of all its threads, those that ended too";

/// A process of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Process {
    /// Role in the server, such as `gateway` or `worker`.
    pub(crate) role: String,
    pub(crate) pid: Pid,
}

/// Returns the CPU time that these processes have used since they started.
///
/// The process clock is the sum of the values in /proc/PID/task/*/schedstat, and also includes threads that have ended.
/// /proc/PID/stat has the same value, but in ticks of 10 ms.
pub(crate) fn cpu(processes: &[Process]) -> anyhow::Result<Duration> {
    let one = |process: &Process| {
        let now = clock_getcpuclockid(process.pid).and_then(|clock| clock.now());
        now.map(Duration::from)
            .with_context(|| format!("{} {} is gone", process.role, process.pid))
    };
    processes.iter().map(one).sum()
}

/// Returns the proportional memory (PSS) of a process in bytes.
pub(crate) fn memory(process: &Process) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/smaps_rollup", process.pid);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    pss(&text).with_context(|| format!("{path} tells no PSS"))
}

/// Parses the line `Pss:  123 kB` of proc(5), where kB means KiB.
fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns a process and all its descendants with the names of their programs. The process itself comes first.
pub(crate) fn tree(root: Pid) -> anyhow::Result<Vec<(Pid, String)>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        // A process that ends during the scan is skipped.
        let Ok(text) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        if let Some((pid, name, parent)) = stat(&text) {
            all.insert(pid, (name, parent));
        }
    }
    Ok(below(root, &all))
}

fn below(root: Pid, all: &BTreeMap<Pid, (String, Pid)>) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let Some((name, _)) = all.get(&pid) else {
            continue;
        };
        found.push((pid, name.clone()));
        let children = all.iter().filter(|(_, (_, parent))| *parent == pid);
        next.extend(children.map(|(child, _)| *child).rev());
    }
    found
}

/// Parses id, name and parent of proc_pid_stat(5). The name is in parentheses and may contain parentheses itself.
fn stat(text: &str) -> Option<(Pid, String, Pid)> {
    let (head, tail) = text.rsplit_once(") ")?;
    let (pid, name) = head.split_once(" (")?;
    let parent = tail.split(' ').nth(1)?;
    Some((
        Pid::from_raw(pid.parse().ok()?),
        name.to_owned(),
        Pid::from_raw(parent.parse().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn stat_is_read_whatever_the_name() {
        let read =
            |text| stat(text).map(|(pid, name, parent)| (pid.as_raw(), name, parent.as_raw()));
        assert_eq!(read("7 (sh) S 1 7"), Some((7, "sh".to_owned(), 1)));
        let odd = Some((7, "a (b) c".to_owned(), 3));
        assert_eq!(read("7 (a (b) c) R 3 7"), odd);
        assert_eq!(read("nothing"), None);
    }

    #[test]
    fn a_tree_holds_all_descendants_and_nobody_else() {
        let process = |pid, parent| {
            (
                Pid::from_raw(pid),
                (format!("p{pid}"), Pid::from_raw(parent)),
            )
        };
        let all = [
            process(1, 0),
            process(5, 1),
            process(6, 5),
            process(4, 6),
            process(9, 1),
        ]
        .into();
        let pids = |root| -> Vec<i32> {
            let found = below(Pid::from_raw(root), &all);
            found.into_iter().map(|(pid, _)| pid.as_raw()).collect()
        };
        assert_eq!(pids(5), [5, 6, 4]);
        assert_eq!(pids(9), [9]);
        assert_eq!(pids(77), [0; 0]);
    }

    #[test]
    fn pss_is_read_in_bytes() {
        let text = "55d0-7ff0 ---p 00000000 00:00 0 [rollup]\nRss:   900 kB\nPss:     812 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(pss(text), Some(812 * 1024));
        assert_eq!(pss("Rss: 1 kB"), None);
    }

    #[test]
    fn our_own_use_of_cpu_is_counted() {
        let us = [Process {
            role: "us".to_owned(),
            pid: nix::unistd::getpid(),
        }];
        let before = cpu(&us).unwrap();
        let until = Instant::now() + Duration::from_millis(20);
        while Instant::now() < until {}
        assert!(cpu(&us).unwrap() > before);
        assert!(memory(&us[0]).unwrap() > 0);
    }
}
