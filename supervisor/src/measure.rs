//! Resource use of processes: memory, processor time, age. Reads /proc, which takes a while with many processes, so
//! it never runs on the supervisor's main thread.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::api::{ProcessStatus, Status};

/// Shortest time over which a share of the processor is computed; a shorter one measures mostly chance.
const SHORTEST: Duration = Duration::from_millis(200);

/// Maximum age of a measurement; an older one says nothing about the present.
const LONGEST: Duration = Duration::from_secs(15);

/// Minimum age at which a measurement is replaced by the next one.
const RENEWED: Duration = Duration::from_secs(1);

/// Measures processes repeatedly.
#[derive(Debug, Default)]
pub struct Meter(HashMap<u32, Track>);

/// A process's processor time at two earlier moments.
#[derive(Clone, Copy, Debug)]
struct Track {
    /// When the process started, in clock ticks after boot. Another process with the same id has another value.
    started: u64,
    older: (Instant, Duration),
    newer: (Instant, Duration),
}

/// The fields of /proc/PID/stat that are used (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    started: u64,
    resident_pages: u64,
}

impl Meter {
    /// Fills in the resource use of every process of a status. Takes `SHORTEST` if there was no query recently.
    pub fn fill(&mut self, status: &mut Status) {
        let pids: HashSet<u32> = status.processes().filter_map(|one| one.pid).collect();
        self.0.retain(|pid, _| pids.contains(pid));
        self.forget_the_old(Instant::now());
        if self.0.is_empty() {
            for pid in pids {
                if let Some(stat) = stat(pid) {
                    self.processor(pid, &stat, Instant::now());
                }
            }
            std::thread::sleep(SHORTEST);
        }
        for process in status.processes_mut() {
            if let Some(pid) = process.pid {
                self.measure(pid, process);
            }
        }
    }

    fn forget_the_old(&mut self, now: Instant) {
        self.0
            .retain(|_, track| now.saturating_duration_since(track.newer.0) < LONGEST);
    }

    fn measure(&mut self, pid: u32, process: &mut ProcessStatus) {
        let Some(stat) = stat(pid) else {
            return;
        };
        process.rss_bytes = constant(SysconfVar::PAGE_SIZE).map(|page| stat.resident_pages * page);
        process.pss_bytes = proportional_memory(pid);
        process.uptime_ms = age(stat.started);
        if let Some((used, share)) = self.processor(pid, &stat, Instant::now()) {
            process.cpu_seconds = Some(used.as_secs_f64());
            process.cpu_share = share;
        }
    }

    /// The processor time that a process has used, and its share of a processor since an earlier measurement.
    fn processor(
        &mut self,
        pid: u32,
        stat: &Stat,
        now: Instant,
    ) -> Option<(Duration, Option<f64>)> {
        let started = stat.started;
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
        let used = Duration::from(clock_gettime(clock).ok()?);
        let fresh = Track {
            started,
            older: (now, used),
            newer: (now, used),
        };
        let track = self.0.entry(pid).or_insert(fresh);
        if track.started != started {
            *track = fresh;
        }
        if now.saturating_duration_since(track.newer.0) >= RENEWED {
            track.older = track.newer;
            track.newer = (now, used);
        }
        let (then, before) = track.older;
        let span = now.saturating_duration_since(then);
        let share = used.saturating_sub(before).as_secs_f64() / span.as_secs_f64();
        Some((used, (span >= SHORTEST).then_some(share)))
    }
}

/// The age in milliseconds of a process that started at this clock tick after boot.
fn age(started: u64) -> Option<u64> {
    let ticks = constant(SysconfVar::CLK_TCK)?;
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let millis = u64::try_from(since_boot.as_millis()).ok()?;
    Some(millis.saturating_sub(started.saturating_mul(1000) / ticks))
}

fn constant(name: SysconfVar) -> Option<u64> {
    u64::try_from(sysconf(name).ok()??).ok()
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may contain any character. So fields are counted from the last closing bracket, after
/// which the third field begins.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.trim().parse().ok();
    Some(Stat {
        started: number(22)?,
        resident_pages: number(24)?,
    })
}

/// A process's share of memory in bytes (PSS, proc_pid_smaps(5)); `None` if this process may not inspect the other.
fn proportional_memory(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_moves_no_field() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 4242 1000 33 9\n";
        let expect = Stat {
            started: 4242,
            resident_pages: 33,
        };
        assert_eq!(parse_stat(text), Some(expect));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_measured_and_a_busy_moment_shows_in_its_share() {
        let own = std::process::id();
        let mut meter = Meter::default();
        let (before, share) = meter
            .processor(own, &stat(own).unwrap(), Instant::now())
            .unwrap();
        assert_eq!(share, None, "there is nothing to compare with yet");
        let end = Instant::now() + SHORTEST + SHORTEST;
        let mut sum = 0u64;
        while Instant::now() < end {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let (after, share) = meter
            .processor(own, &stat(own).unwrap(), Instant::now())
            .unwrap();
        assert!(after > before);
        assert!(share.unwrap() > 0.01, "{share:?}");
        let mut process = ProcessStatus::of(Some(own));
        meter.measure(own, &mut process);
        assert!(process.rss_bytes.unwrap() > 100_000);
        assert!(process.pss_bytes.unwrap() > 100_000);
        assert!(process.uptime_ms.unwrap() < 24 * 3600 * 1000);
        let mut gone = ProcessStatus::of(Some(u32::MAX));
        meter.measure(u32::MAX, &mut gone);
        assert_eq!(gone, ProcessStatus::of(Some(u32::MAX)));
    }
}
