//! Control groups, version 2 (cgroups(7)): limits of processes, and how often processes reached them.
//!
//! The platform takes over the group that it was started in, and makes a group below it for each process. Each limit
//! is read back after it is written: the kernel does not report that a controller is not enabled for a group, its
//! files are only missing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hearth_manifest::WorkerLimits;

use crate::cell::Mechanism;

/// Controllers that limit workers. A strict sandbox needs the first three.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// Period of the limit of processor time, in microseconds (`cpu.max`).
const PERIOD: u64 = 100_000;

/// Maximum length in bytes of a value that is read back.
const VALUE: usize = 256;

/// The platform's group, which contains the groups of its processes.
#[derive(Debug)]
pub struct Cgroups {
    directory: PathBuf,
    controllers: Vec<String>,
    /// Kills and failed forks in all groups together, when they were last read. `None` if the kernel does not sum them
    /// up.
    sums: Option<Cell<(u64, u64)>>,
}

/// The group of one process. Dropping it kills the processes in it, and removes it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// Whether its processor time is limited.
    throttles: bool,
}

/// How often the processes of a group have reached its limits since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Processes that were killed because the group had reached its memory limit.
    pub memory_kills: u64,
    /// Threads and processes that could not be started.
    pub pids_refused: u64,
    /// Periods in which the group used up its processor time.
    pub throttled: u64,
    /// Total time that the group waited for the next period, in microseconds.
    pub throttled_us: u64,
}

impl Events {
    /// How often each limit was reached, by the manifest's keys. Limits that were never reached are left out.
    pub fn by_key(&self) -> BTreeMap<String, u64> {
        [
            ("limits.memory", self.memory_kills),
            ("limits.pids", self.pids_refused),
            ("limits.cpu", self.throttled),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(key, count)| (key.to_owned(), count))
        .collect()
    }

    /// Messages about limits that had not been reached at the time of `before`: each limit is reported once.
    pub fn news(&self, before: &Events) -> Vec<String> {
        let mut news = Vec::new();
        if self.pids_refused > 0 && before.pids_refused == 0 {
            news.push("it could not start more threads or processes: limits.pids".to_owned());
        }
        if self.throttled > 0 && before.throttled == 0 {
            let waited = self.throttled_us / 1000;
            news.push(format!(
                "it wanted more of the processors and waited {waited} ms so far: limits.cpu"
            ));
        }
        news
    }
}

impl Cgroups {
    /// Takes over the group that this process is in.
    ///
    /// # Errors
    /// Why control groups cannot be used, as a text for the operator.
    pub fn take() -> Result<Cgroups, String> {
        let mounted = mount_point().ok_or("no cgroup v2 file system is mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.ok_or("this process is in no group of cgroup v2")?;
        let begin = mounted.join(own);
        let said = |what: &str| {
            let place = begin.display().to_string();
            let what = what.to_owned();
            move |error: io::Error| format!("{what} {place}: {error}")
        };
        let offered = fs::read_to_string(begin.join("cgroup.controllers"))
            .map_err(said("cannot read the controllers of"))?;
        let controllers: Vec<String> = CONTROLLERS
            .into_iter()
            .filter(|one| offered.split_whitespace().any(|name| name == *one))
            .map(str::to_owned)
            .collect();
        if controllers.is_empty() {
            return Err(format!(
                "no controller is passed on to {}; `systemd-run --user --scope -p Delegate=yes` gives a part of the tree",
                begin.display()
            ));
        }
        let directory = begin.join(format!("hearth-{}", std::process::id()));
        sweep(&begin);
        fs::create_dir_all(&directory).map_err(said("cannot make a group in"))?;
        let groups = Cgroups {
            directory,
            controllers,
            sums: sums_up().then(Cell::default),
        };
        // Except for the root, a group that contains processes cannot enable controllers for other groups. So the
        // supervisor moves into a leaf.
        let leaf = groups.directory.join("supervisor");
        fs::create_dir_all(&leaf)
            .and_then(|()| fs::write(leaf.join("cgroup.procs"), "0"))
            .map_err(said("cannot move within"))?;
        for place in [&begin, &groups.directory] {
            for controller in &groups.controllers {
                fs::write(
                    place.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                )
                .map_err(|error| {
                    let why = match error.raw_os_error() {
                        Some(nix::libc::EBUSY) => "other processes are in this group; \
                                 `systemd-run --user --scope -p Delegate=yes` gives one of its own"
                            .to_owned(),
                        _ => error.to_string(),
                    };
                    format!(
                        "{controller} cannot be passed on in {}: {why}",
                        place.display()
                    )
                })?;
            }
        }
        Ok(groups)
    }

    /// Makes a group with this name and a worker's limits. Also returns which of the limits are enforced.
    pub fn worker(
        &self,
        name: &str,
        limits: &WorkerLimits,
    ) -> io::Result<(Cgroup, Vec<Mechanism>)> {
        let mut group = self.group(name)?;
        group.throttles = limits.cpu.is_some();
        let page = page_size();
        let memory = (limits.memory / page * page).to_string();
        // Above this level the kernel slows the group down and reclaims its memory, before it kills at `memory.max`.
        let high = ((limits.memory - limits.memory / 16) / page * page).to_string();
        let cpu = match limits.cpu {
            Some(share) => format!("{} {PERIOD}", (share * PERIOD as f64) as u64),
            None => format!("max {PERIOD}"),
        };
        let mut list = Vec::new();
        let mut hold = |name: &str, detail: String, values: &[(&str, &str)]| {
            if !self.controllers.iter().any(|one| one == name) {
                let why = "its controller is not passed on to this group";
                list.push(Mechanism::missing(name, why));
                return;
            }
            let held = values
                .iter()
                .try_for_each(|(file, value)| group.set(file, value));
            list.push(match held {
                Ok(()) => Mechanism::enforced(name, detail),
                Err(error) => Mechanism::missing(name, error.to_string()),
            });
        };
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let mut kept = vec![("memory.max", memory.as_str()), ("memory.high", &high)];
        // A kernel without swap does not have this file.
        if group.directory.join("memory.swap.max").exists() {
            kept.push(("memory.swap.max", "0"));
        }
        kept.push(("memory.oom.group", "1"));
        hold("memory", mebibytes(limits.memory), &kept);
        hold(
            "pids",
            limits.pids.to_string(),
            &[("pids.max", &limits.pids.to_string())],
        );
        let share = match limits.cpu {
            Some(share) => format!("{share} processors"),
            None => "its share with others".to_owned(),
        };
        hold("cpu", share, &[("cpu.max", &cpu)]);
        if self.controllers.iter().any(|one| one == "io")
            && group.directory.join("io.weight").exists()
        {
            hold(
                "io",
                "its share with others".to_owned(),
                &[("io.weight", "default 100")],
            );
        }
        Ok((group, list))
    }

    /// Whether a worker may have reached its limit of memory or of processes since the last call. Reads only two files,
    /// however many groups exist. Always `true` if the kernel does not sum events up.
    pub fn has_news(&self) -> bool {
        // Before Linux 6.11, or with mount options that say so, each group counts only its own events.
        let Some(sums) = &self.sums else {
            return true;
        };
        if !self.directory.join("pids.events.local").exists() {
            return true;
        }
        match happened(&self.directory) {
            Ok(now) => sums.replace(now) != now,
            Err(_) => true,
        }
    }

    /// Makes a group without limits, such as the gateway's.
    pub fn group(&self, name: &str) -> io::Result<Cgroup> {
        let directory = self.directory.join(name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Cgroup {
                directory,
                throttles: false,
            }),
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // Tries to return to the group that the supervisor was started in, so that the platform's group can be removed.
        if let Some(parent) = self.directory.parent() {
            let _ = fs::write(parent.join("cgroup.procs"), "0");
        }
        remove(&self.directory);
    }
}

impl Cgroup {
    /// Opens the group's directory, so that a process can be started in the group.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(File::open(&self.directory)?.into())
    }

    /// Kills all processes in the group.
    pub fn kill(&self) {
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }

    /// Whether its processor time is limited. [`Cgroups::has_news`] does not notice that this limit is reached.
    pub fn throttles(&self) -> bool {
        self.throttles
    }

    /// How often the limits were reached.
    ///
    /// # Errors
    /// A file of the group cannot be read.
    pub fn events(&self) -> io::Result<Events> {
        // Reading this file makes the kernel sum up the statistics of all groups. With a thousand groups that is
        // expensive, so it is read only for groups that have a limit.
        let cpu = match self.throttles {
            true => read(&self.directory.join("cpu.stat"))?,
            false => String::new(),
        };
        let (memory_kills, pids_refused) = happened(&self.directory)?;
        Ok(Events {
            memory_kills,
            pids_refused,
            throttled: number(&cpu, "nr_throttled "),
            throttled_us: number(&cpu, "throttled_usec "),
        })
    }

    /// Writes a value, then reads it back to check that it is in effect.
    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        let told = |what: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("{file} {what}: {error}"))
        };
        // Opened once for both: every start of a worker waits for these calls.
        let opened = File::options()
            .read(true)
            .write(true)
            .open(self.directory.join(file));
        let opened = opened.map_err(|error| told("cannot be opened", error))?;
        let written = (&opened).write(value.as_bytes());
        written.map_err(|error| told("cannot be written", error))?;
        let mut read = [0; VALUE];
        let length = opened.read_at(&mut read, 0);
        let length = length.map_err(|error| told("cannot be read", error))?;
        let read = String::from_utf8_lossy(&read[..length]);
        match read.lines().next() == Some(value) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{file} was set to {value} and is {}",
                read.trim()
            ))),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // Killed processes may not have ended yet. The group is then removed with the platform's own, or by the next
        // platform.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// How many processes of a group were killed for memory, and how many could not be started.
fn happened(group: &Path) -> io::Result<(u64, u64)> {
    let memory = read(&group.join("memory.events"))?;
    let pids = read(&group.join("pids.events"))?;
    Ok((number(&memory, "oom_kill "), number(&pids, "max ")))
}

/// Reads a file of a group; empty if it does not exist, because its controller is not enabled.
fn read(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The number that follows `key` at the beginning of a line; 0 if no line begins with `key`.
fn number(text: &str, key: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let size = size
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok());
    size.unwrap_or(4096)
}

/// Where cgroup v2 is mounted, alone or next to controllers of version 1.
fn mount_point() -> Option<PathBuf> {
    mounted()?.split(' ').nth(4).map(PathBuf::from)
}

/// The line of cgroup v2 in the list of mounts (proc_pid_mountinfo(5)).
fn mounted() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(found.to_owned())
}

/// Whether events of a group are also counted in the groups above it. The mount options `memory_localevents` and
/// `pids_localevents` turn that off.
fn sums_up() -> bool {
    mounted().is_some_and(|line| !line.contains("_localevents"))
}

/// Removes the groups of platforms that have ended.
fn sweep(begin: &Path) {
    let groups = fs::read_dir(begin).into_iter().flatten().flatten();
    for group in groups {
        let name = group.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("hearth-"));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&group.path());
        }
    }
}

/// Removes a group and the groups below it, except those that still contain processes.
fn remove(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(group);
}
