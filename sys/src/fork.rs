//! Processes that begin as copies of this one, in namespaces and a cgroup of their own where that is asked for
//! (clone3(2)); what such a copy does before it executes a program.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sched::CloneFlags;
use nix::unistd::{Pid, pipe2};

use crate::inherit::FIRST;
use crate::spawn::Child;

/// The kernel's `struct clone_args` up to `cgroup` (Linux 5.7).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Begin in the cgroup that is named (clone3(2)).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

impl CloneArgs {
    /// For a process with these flags, in the cgroup whose directory is open as `cgroup`. A child of this process
    /// tells its end by SIGCHLD; a sibling, as this process does.
    pub(crate) fn of(flags: CloneFlags, cgroup: Option<&OwnedFd>) -> CloneArgs {
        let mut args = CloneArgs {
            flags: u64::from(flags.bits().unsigned_abs()),
            ..CloneArgs::default()
        };
        if !flags.contains(CloneFlags::CLONE_PARENT) {
            args.exit_signal = libc::SIGCHLD as u64;
        }
        if let Some(cgroup) = cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        }
        args
    }

    /// Returns as clone3(2) does, in both processes.
    ///
    /// # Safety
    /// As that of fork: the copy has one thread, and whatever lock another held.
    pub(crate) unsafe fn clone3(&self) -> libc::c_long {
        let args = ptr::from_ref(self);
        // SAFETY: the structure has the kernel's layout and outlives the call; flags without CLONE_VM give the copy
        // memory of its own. The rest is the caller's.
        unsafe { libc::syscall(libc::SYS_clone3, args, size_of::<CloneArgs>()) }
    }
}

/// What clone3 has returned in the process that called it.
pub(crate) fn cloned(returned: libc::c_long) -> io::Result<Pid> {
    match libc::pid_t::try_from(returned) {
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a copy of this process in new `namespaces` (namespaces(7); empty for ours), and in the cgroup whose
/// directory is open as `cgroup` (ours if `None`). It is a child of our parent, not ours: that one is told how it
/// ends. Returns its process id here, and `None` in the copy.
///
/// # Errors
/// `Unsupported` in a process with more threads than one: those that are not copied may hold locks. What clone3(2)
/// says, such as `EINVAL` in a process that is the first of its namespace.
pub fn sibling(namespaces: CloneFlags, cgroup: Option<&OwnedFd>) -> io::Result<Option<Pid>> {
    // One for each thread, besides the directory itself and its name.
    if fs::metadata("/proc/self/task")?.nlink() != 2 + 1 {
        let why = "only a process of one thread can be copied";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let args = CloneArgs::of(namespaces | CloneFlags::CLONE_PARENT, cgroup);
    // SAFETY: this process has one thread, as was seen: no lock in the copy is held by somebody who is not there.
    match unsafe { args.clone3() } {
        0 => Ok(None),
        returned => cloned(returned).map(Some),
    }
}

/// Puts `/dev/null`, newly opened, in the place of stdin, `outputs` in that of stdout and stderr, and `descriptors` from number 3 on, where the program finds them
/// that is executed next. Nothing of this process may be open at those numbers; all others close then
/// (close_range(2), Linux 5.11).
///
/// # Errors
/// `AlreadyExists` if something is open at one of the numbers.
pub fn place(outputs: [OwnedFd; 2], descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let count = RawFd::try_from(descriptors.len()).unwrap_or(RawFd::MAX);
    let beyond = FIRST.saturating_add(count);
    for number in FIRST..beyond {
        // SAFETY: borrowed for this one call, which answers EBADF if nothing is open at this number.
        let there = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD);
        if there != Err(Errno::EBADF) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
    }
    // Not that of the process this one is a copy of: flags and locks are of an opening.
    let stdin = OwnedFd::from(File::open("/dev/null")?);
    let all = [stdin].into_iter().chain(outputs).chain(descriptors);
    for (source, number) in all.zip(0..) {
        // SAFETY: at numbers 0 to 2 only what this process hears and says goes elsewhere; at the others nothing is open
        // (seen above), so nobody owns them.
        Errno::result(unsafe { libc::dup2(source.as_raw_fd(), number) })?;
    }
    let (first, all, on_exec) = (beyond, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: the call takes numbers, and closes nothing before a program is executed.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, all, on_exec) })?;
    Ok(())
}

/// Schedules this process as SCHED_BATCH (sched(7)): with its fair share of time, but without pushing others off
/// their processor whenever something arrives for it. Where that fails it is only scheduled a little less well.
pub fn be_batch() {
    // The kernel's `struct sched_param`. By the system call, since musl's function only fails.
    let priority: libc::c_int = 0;
    let set = libc::SYS_sched_setscheduler;
    // SAFETY: the structure has the kernel's layout and outlives the call.
    let _ = unsafe { libc::syscall(set, 0, libc::SCHED_BATCH, &raw const priority) };
}

/// Whether an ordinary user may have namespaces here: tried, since nothing else tells.
///
/// # Errors
/// What the kernel says to it.
pub fn try_user_namespace() -> io::Result<()> {
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let args = CloneArgs::of(namespaces, None);
    // SAFETY: the child makes two system calls, allocates nothing, and ends.
    let returned = unsafe {
        let returned = args.clone3();
        if returned == 0 {
            let (root, private) = (c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE);
            let failed = libc::mount(ptr::null(), root, ptr::null(), private, ptr::null()) < 0;
            let errno = if failed { Errno::last_raw() } else { 0 };
            let bytes = errno.to_ne_bytes();
            libc::write(write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
            libc::_exit(0);
        }
        returned
    };
    let mut child = Child::of(cloned(returned)?);
    drop(write);
    let mut errno = [0; size_of::<i32>()];
    let said = File::from(read).read_exact(&mut errno);
    child.wait()?;
    said?;
    match i32::from_ne_bytes(errno) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_several_threads_is_not_copied() {
        // Tests run in threads beside the first.
        let error = sibling(CloneFlags::empty(), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
