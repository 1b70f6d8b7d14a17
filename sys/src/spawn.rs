//! Children that get just the descriptors meant for them and end with their parent, in a cgroup of their own where
//! that is asked for (clone3(2)).

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::ptr;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, pipe2};

use crate::fork::{CloneArgs, cloned};
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
    /// The cgroup it begins in, as its opened directory; ours if `None`.
    pub cgroup: Option<OwnedFd>,
}

impl Spawn {
    /// A program without anything.
    pub fn new(program: PathBuf) -> Spawn {
        Spawn {
            program,
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            descriptors: Vec::new(),
            cgroup: None,
        }
    }
}

/// A child process. Not killed when dropped: it ends with the thread that started it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    status: Option<ExitStatus>,
    /// What it prints.
    pub stdout: Option<OwnedFd>,
    /// What it complains about.
    pub stderr: Option<OwnedFd>,
}

impl Child {
    /// A child of this process that was started otherwise; nothing of what it prints comes here.
    pub fn of(pid: Pid) -> Child {
        Child {
            pid,
            status: None,
            stdout: None,
            stderr: None,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(WaitPidFlag::WNOHANG)
    }

    /// How it ended, once it has.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.reap(WaitPidFlag::empty()) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Kills it, if it has not been waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        match self.status {
            Some(_) => Ok(()),
            None => Ok(kill(self.pid, Signal::SIGKILL)?),
        }
    }

    fn reap(&mut self, flags: WaitPidFlag) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: waitpid writes one int to a place that is ours; the process is our child and
            // has not been waited for.
            let reaped = unsafe { libc::waitpid(self.pid.as_raw(), &raw mut status, flags.bits()) };
            match reaped {
                0 => {}
                pid if pid > 0 => self.status = Some(ExitStatus::from_raw(status)),
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(self.status)
    }
}

/// A child of this process that has ended, whichever it was, and how; PID 1's are all that have lost their parents.
pub fn reap() -> Option<(i32, ExitStatus)> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid writes one int to a place that is ours.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match reaped {
            pid if pid > 0 => return Some((pid, ExitStatus::from_raw(status))),
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Nobody has, or there is nobody.
            _ => return None,
        }
    }
}

/// Starts the child in a session of its own, without a terminal, with stdin from `/dev/null` and
/// stdout and stderr as pipes, which are in the returned [`Child`].
///
/// The kernel kills it when the *thread* that called this ends (PR_SET_PDEATHSIG, prctl(2)): call it
/// from one that lives as long as the process.
///
/// # Errors
/// What clone3(2) or execve(2) says.
pub fn spawn(spec: Spawn) -> io::Result<Child> {
    let count = RawFd::try_from(spec.descriptors.len()).unwrap_or(RawFd::MAX);
    let above = FIRST.saturating_add(count);
    // Everything lies above the range of targets, so that no dup2 in the child overwrites what it
    // still needs.
    let sources = raised(spec.descriptors, above)?;
    let stdin = raise(File::open("/dev/null")?.into(), above)?;
    let (stdout, their_stdout) = pipe_above(above)?;
    let (stderr, their_stderr) = pipe_above(above)?;
    let (failure, their_failure) = pipe_above(above)?;

    let program = c_string(spec.program.into_os_string())?;
    let args: Vec<CString> = std::iter::once(Ok(program.clone()))
        .chain(spec.args.into_iter().map(c_string))
        .collect::<io::Result<_>>()?;
    let env: Vec<CString> = spec
        .env
        .into_iter()
        .map(|(name, value)| {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            c_string(OsString::from_vec(pair))
        })
        .collect::<io::Result<_>>()?;
    let directory = spec
        .directory
        .map(|path| c_string(path.into_os_string()))
        .transpose()?;
    let mut dup: Vec<(RawFd, RawFd)> = [&stdin, &their_stdout, &their_stderr]
        .into_iter()
        .chain(&sources)
        .zip(0..)
        .map(|(source, target)| (source.as_raw_fd(), target))
        .collect();
    // Targets 0 to 2 are never sources, for all of these lie above.
    dup.shrink_to_fit();
    let child = Birth {
        program: &program,
        argv: &pointers(&args),
        envp: &pointers(&env),
        directory: directory.as_ref(),
        dup: &dup,
        above,
        failure: their_failure.as_raw_fd(),
        parents: failure.as_raw_fd(),
    };
    let pid = clone(spec.cgroup.as_ref(), &child)?;
    drop((stdin, their_stdout, their_stderr, their_failure));
    let mut child = Child {
        stdout: Some(stdout),
        stderr: Some(stderr),
        ..Child::of(pid)
    };
    let mut errno = [0; size_of::<i32>()];
    match File::from(failure).read_exact(&mut errno) {
        // It closed at exec.
        Err(_) => Ok(child),
        Ok(()) => {
            let _ = child.wait();
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
        }
    }
}

/// What the child needs between clone and exec, made before: it may not allocate there.
struct Birth<'a> {
    program: &'a CString,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    directory: Option<&'a CString>,
    dup: &'a [(RawFd, RawFd)],
    above: RawFd,
    failure: RawFd,
    parents: RawFd,
}

fn clone(cgroup: Option<&OwnedFd>, birth: &Birth<'_>) -> io::Result<Pid> {
    let args = CloneArgs::of(CloneFlags::empty(), cgroup);
    // SAFETY: the child has memory of its own, and runs only `born`, which makes system calls on values
    // made before and allocates nothing, so that a lock some other thread held at this moment does not
    // matter; and it never returns from here.
    let returned = unsafe {
        let returned = args.clone3();
        if returned == 0 {
            let errno = birth.born();
            let bytes = errno.to_ne_bytes();
            libc::write(birth.failure, bytes.as_ptr().cast(), bytes.len());
            libc::_exit(127);
        }
        returned
    };
    cloned(returned)
}

impl Birth<'_> {
    /// Becomes the program; returns only with the error that prevented it.
    ///
    /// # Safety
    /// Only in a child that has memory of its own and may end.
    unsafe fn born(&self) -> i32 {
        // SAFETY: the caller says that this is such a child.
        match unsafe { self.become_program() } {
            Ok(never) => match never {},
            Err(errno) => errno as i32,
        }
    }

    unsafe fn become_program(&self) -> nix::Result<std::convert::Infallible> {
        let check = |result: libc::c_int| nix::errno::Errno::result(result).map(drop);
        // SAFETY: system calls alone, on numbers and on memory that lives in the caller.
        unsafe {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // A parent that died before the line above took effect has closed its end; ours must be
            // closed for that to be seen.
            libc::close(self.parents);
            let mut poll = libc::pollfd {
                fd: self.failure,
                events: 0,
                revents: 0,
            };
            check(libc::poll(&raw mut poll, 1, 0))?;
            if poll.revents != 0 {
                return Err(nix::errno::Errno::ESRCH);
            }
            // A session of its own: a program with the user's terminal could type into it.
            check(libc::setsid())?;
            nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            // Rust ignores it, and what is ignored stays so over an exec.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            // Whatever we were started with ourselves, beyond what is meant for the child, closes at
            // exec (close_range(2), Linux 5.11).
            let (all, on_exec) = (u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if libc::syscall(libc::SYS_close_range, self.above, all, on_exec) < 0 {
                return Err(nix::errno::Errno::last());
            }
            for (source, target) in self.dup {
                check(libc::dup2(*source, *target))?;
            }
            if let Some(directory) = self.directory {
                check(libc::chdir(directory.as_ptr()))?;
            }
            libc::execve(
                self.program.as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
            );
        }
        Err(nix::errno::Errno::last())
    }
}

fn c_string(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let pointers = strings.iter().map(|one| one.as_ptr());
    pointers.chain([ptr::null()]).collect()
}

fn raised(descriptors: Vec<OwnedFd>, above: RawFd) -> io::Result<Vec<OwnedFd>> {
    let raised = descriptors.into_iter().map(|one| raise(one, above));
    raised.collect()
}

/// The same under a number of at least `lowest`, closed at exec.
///
/// # Errors
/// As fcntl(2) says.
pub fn raise(fd: OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    let raw = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: fcntl has just made this descriptor, and nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn pipe_above(lowest: RawFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((raise(read, lowest)?, raise(write, lowest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn shell(script: &str, descriptors: Vec<OwnedFd>) -> io::Result<Child> {
        spawn(Spawn {
            args: vec!["-c".into(), script.into()],
            env: vec![("ONLY".into(), "this".into())],
            descriptors,
            ..Spawn::new("/bin/sh".into())
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
        File::from(child.stdout.take().unwrap())
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
    fn a_program_that_is_not_there_is_an_error_of_spawn() {
        let missing = Spawn::new("/nonexistent/program".into());
        assert_eq!(spawn(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
