//! Children that get just the descriptors meant for them and end with their parent.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

use crate::inherit::FIRST;

/// What to start.
#[derive(Debug)]
pub struct Spawn {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<OsString>,
    /// Its whole environment; nothing of ours is passed on.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; ours if `None`.
    pub directory: Option<PathBuf>,
    /// What it finds open from descriptor 3 on, in this order.
    pub descriptors: Vec<OwnedFd>,
    /// Whether it is scheduled as SCHED_BATCH (sched(7)): with its fair share of time, but without
    /// pushing others off their processor whenever something arrives for it.
    pub batch: bool,
}

/// Starts the child in a process group of its own, with stdin from `/dev/null` and stdout and stderr
/// as pipes, which are in the returned [`Child`].
///
/// The kernel kills it when the *thread* that called this ends (PR_SET_PDEATHSIG, prctl(2)): call it
/// from one that lives as long as the process.
pub fn spawn(spec: Spawn) -> io::Result<Child> {
    let count = RawFd::try_from(spec.descriptors.len()).unwrap_or(RawFd::MAX);
    let above = FIRST.saturating_add(count);
    // The sources move out of the range of targets, so that no dup2 below overwrites a later source;
    // and the range is filled while the child is made, so that the pipe by which the standard
    // library learns of a failed exec does not come to lie in it.
    let sources: Vec<OwnedFd> = spec
        .descriptors
        .iter()
        .map(|fd| duplicate_above(fd, above))
        .collect::<Result<_, _>>()?;
    let _filled = fill_below(above)?;

    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env)
        .process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let (parent, batch) = (nix::unistd::getpid(), spec.batch);
    let raw: Vec<RawFd> = sources.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the closure runs in the child between fork and exec. It makes only system calls that
    // are async-signal-safe (prctl, getppid, close_range,
    // sched_setscheduler, dup2) on values made before the fork, and allocates
    // nothing: errors are built from bare numbers.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                // The parent died before the line above took effect.
                return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            // Whatever we were started with ourselves, beyond what is meant for the child, closes at
            // exec (close_range(2), Linux 5.11); the standard library's pipe does so anyway.
            let (all, on_exec) = (u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC);
            if nix::libc::syscall(nix::libc::SYS_close_range, above, all, on_exec) < 0 {
                return Err(io::Error::last_os_error());
            }
            if batch {
                // The kernel's `struct sched_param`. By the system call, since musl's function only
                // fails. Without it the child is only scheduled a little less well.
                let priority: nix::libc::c_int = 0;
                let set = nix::libc::SYS_sched_setscheduler;
                let _ = nix::libc::syscall(set, 0, nix::libc::SCHED_BATCH, &raw const priority);
            }
            for (target, source) in (FIRST..).zip(&raw) {
                if nix::libc::dup2(*source, target) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn()
}

fn duplicate_above(fd: &OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: fcntl has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) })
}

/// Opens placeholders until every number from 3 up to `above` is in use.
fn fill_below(above: RawFd) -> io::Result<Vec<File>> {
    let mut placeholders = Vec::new();
    loop {
        let file = File::open("/dev/null")?;
        if file.as_raw_fd() >= above {
            return Ok(placeholders);
        }
        placeholders.push(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn shell(script: &str, descriptors: Vec<OwnedFd>) -> io::Result<Child> {
        spawn(Spawn {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("ONLY".into(), "this".into())],
            directory: None,
            descriptors,
            batch: true,
        })
    }

    #[test]
    fn a_child_gets_its_descriptors_in_order_and_nothing_of_our_environment() {
        let (a, b) = UnixStream::pair().unwrap();
        let (c, d) = UnixStream::pair().unwrap();
        let mut child = shell(
            "echo first >&3; echo second >&4; echo $ONLY$HOME",
            vec![b.into(), d.into()],
        )
        .unwrap();
        let mut out = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(out, "this\n");
        for (mut socket, expect) in [(a, "first\n"), (c, "second\n")] {
            let mut text = String::new();
            socket.read_to_string(&mut text).unwrap();
            assert_eq!(text, expect);
        }
    }

    #[test]
    fn a_child_can_be_scheduled_as_batch() {
        let mut child = shell("cat /proc/self/stat", vec![]).unwrap();
        let mut out = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        assert!(child.wait().unwrap().success());
        // Field 41 is the policy (proc_pid_stat(5)), counted here from behind the name in brackets.
        let (_, fields) = out.rsplit_once(") ").unwrap();
        let policy = fields.split(' ').nth(41 - 3).unwrap();
        assert_eq!(policy, nix::libc::SCHED_BATCH.to_string());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_of_spawn() {
        let missing = Spawn {
            program: "/nonexistent/program".into(),
            args: vec![],
            env: vec![],
            directory: None,
            descriptors: vec![],
            batch: false,
        };
        assert_eq!(spawn(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
