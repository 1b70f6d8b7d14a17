//! Process groups: a program and its descendants, which are ended together.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::scratch::Scratch;

/// Time that a program gets to end after SIGTERM. It is longer than an idle Hearth needs to stop its workers, so that
/// Hearth stops in its regular way.
const GRACE: Duration = Duration::from_secs(5);

/// Creates a command for a program that the kernel ends when this program ends, even if this program is killed. The
/// command goes through [`become_program`], because safe code cannot do anything between fork and exec.
pub(crate) fn tied(program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(own);
    command.arg("exec").arg(program);
    Ok(command)
}

/// Implements `bench exec PROGRAM ARGS`: requests SIGTERM from the kernel when the parent ends (PR_SET_PDEATHSIG,
/// prctl(2), which persists across exec), and executes the program. Returns only on failure.
pub(crate) fn become_program(words: &[String]) -> anyhow::Result<()> {
    let (program, args) = words.split_first().context("exec wants a program")?;
    set_pdeathsig(Signal::SIGTERM)?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

/// A program in its own process group. Dropping the value ends the group: SIGTERM to the program, then SIGKILL to the
/// rest of the group.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Group {
    /// Starts `command`. Messages call it `name`. Its stderr goes to a file in `scratch`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        scratch: &Scratch,
    ) -> anyhow::Result<Group> {
        let log = scratch.join(&format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Group { child, name, log })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Fails if the program has ended. The error contains the program's stderr.
    pub(crate) fn alive(&self) -> anyhow::Result<()> {
        if self.has_ended() {
            let words = fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{} ended: {}", self.name, words.trim());
        }
        Ok(())
    }

    /// Checks for the end without reaping the program. While it is a zombie, no other group can get its number.
    fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(self.pid()), look),
            Ok(WaitStatus::StillAlive)
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The errors are ignored: these calls fail only if no process is left.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shell(script: &str, scratch: &Scratch) -> Group {
        let mut command = Command::new("/bin/sh");
        Group::start("shell", command.args(["-c", script]), scratch).unwrap()
    }

    fn wait_for(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !what() {
            assert!(Instant::now() < deadline, "it did not happen");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_that_ended_is_told_with_its_last_words() {
        let scratch = Scratch::new().unwrap();
        let group = shell("echo no luck >&2; exit 1", &scratch);
        wait_for(|| group.alive().is_err());
        let error = group.alive().unwrap_err().to_string();
        assert_eq!(error, "shell ended: no luck");
    }

    #[test]
    fn dropping_it_ends_the_grandchildren_too() {
        let scratch = Scratch::new().unwrap();
        let pid = scratch.join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
            pid.display()
        );
        let group = shell(&script, &scratch);
        wait_for(|| pid.exists());
        let grandchild = fs::read_to_string(pid).unwrap();
        let stat = Path::new("/proc").join(grandchild.trim()).join("stat");
        assert!(stat.exists());
        drop(group);
        // If no process reaps orphans, the grandchild remains as a zombie.
        wait_for(|| fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")));
    }
}
