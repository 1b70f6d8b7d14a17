//! Control groups (cgroups(7)): a leaf for init, one group for each child that it starts.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{ActError, file};

const TREE: &str = "/sys/fs/cgroup";

/// What children may pass on to theirs.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// A child's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub &'static str);

/// Makes them, and moves this process into its leaf.
pub fn make() -> Result<(), ActError> {
    Group("init").make()?;
    let own = format!("{TREE}/init/cgroup.procs");
    fs::write(&own, "1").map_err(file("enter", own))?;
    let offered = super::text(format!("{TREE}/cgroup.controllers"), 4096).unwrap_or_default();
    for controller in CONTROLLERS {
        // One that this kernel does not have is said by the supervisor, which needs them.
        if offered.split_whitespace().any(|one| one == controller) {
            let passed = format!("{TREE}/cgroup.subtree_control");
            fs::write(&passed, format!("+{controller}")).map_err(file("write", passed))?;
        }
    }
    Ok(())
}

impl Group {
    fn place(self) -> PathBuf {
        PathBuf::from(TREE).join(self.0)
    }

    /// Makes it, if it is not there.
    pub fn make(self) -> Result<(), ActError> {
        fs::create_dir_all(self.place()).map_err(file("make", self.place()))
    }

    /// Its directory, for a child to be born in.
    pub fn open(self) -> Result<OwnedFd, ActError> {
        let opened = File::open(self.place()).map_err(file("open", self.place()))?;
        Ok(opened.into())
    }

    /// Ends everything in it, and in groups below; they cannot refuse. Returns when nobody is left, or after a
    /// second: one that waits for a dead disk cannot even be killed.
    pub fn kill(self) -> Result<(), ActError> {
        let kill = self.place().join("cgroup.kill");
        fs::write(&kill, "1").map_err(file("write", &kill))?;
        let until = Instant::now() + Duration::from_secs(1);
        while self.is_populated() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether anybody lives in it, or below.
    pub fn is_populated(self) -> bool {
        let events = super::text(self.place().join("cgroup.events"), 4096);
        events.is_some_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    /// Makes it a leaf again, as a new one is: removes what groups are left below it, from the inside out, and
    /// takes back what it passes on to them, for nobody can be born in a group that passes controllers on. Groups
    /// that somebody still is in stay, and with them what they were given.
    pub fn sweep(self) {
        sweep(&self.place());
        for controller in CONTROLLERS {
            // One that it does not pass on, this kernel may not know either.
            let passed = self.place().join("cgroup.subtree_control");
            let _ = fs::write(passed, format!("-{controller}"));
        }
    }
}

fn sweep(place: &std::path::Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep(&entry.path());
            // Somebody may be in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
