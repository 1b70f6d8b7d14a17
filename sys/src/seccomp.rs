//! Filters of system calls (seccomp(2)), and the notices of calls that were refused
//! (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// What a filter returns for a call that its owner is asked about: `SECCOMP_RET_USER_NOTIF`.
pub const ASK: u32 = 0x7fc0_0000;

/// One instruction of a filter: the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions to pass over if it holds.
    pub jt: u8,
    /// Instructions to pass over if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Filters all further system calls of this thread, and of what it starts; `no_new_privs` must be set. Returns
/// where notices of the calls arrive for which the filter says [`ASK`]. Once that is closed, such calls fail with
/// `ENOSYS`.
///
/// # Errors
/// What seccomp(2) says, such as `EINVAL` for a program that is none; `EBUSY` if a filter of this thread has a
/// listener already.
pub fn filter_with_listener(program: &[Instruction]) -> io::Result<OwnedFd> {
    let program = Program {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr(),
    };
    let (set, flags) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    );
    // SAFETY: the program has the kernel's layout, its length is that of the slice, and both outlive
    // the call, which copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) };
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether [`filter_with_listener`] is sure to work here: the kernel has it, and nobody has put filters on this
/// process before, of which one might have a listener already.
pub fn can_be_told() -> bool {
    /// `struct seccomp_notif_sizes`.
    #[repr(C)]
    struct Sizes([u16; 3]);
    let mut sizes = Sizes([0; 3]);
    let (ask, sizes) = (libc::SECCOMP_GET_NOTIF_SIZES, &raw mut sizes);
    // SAFETY: the structure has the kernel's layout and outlives the call.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, ask, 0, sizes) } == 0;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    known && status.lines().any(|line| line == "Seccomp:\t0")
}

/// A call that waits for its answer: the kernel's `struct seccomp_notif`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Notice {
    id: u64,
    /// The process that makes it, as seen from here; 0 if it is not.
    pub pid: u32,
    flags: u32,
    /// The call's number.
    pub call: i32,
    /// Its architecture (`AUDIT_ARCH_*`).
    pub arch: u32,
    instruction: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: u32 = 0xc000_2100 | (size_of::<Notice>() as u32) << 16;
/// `SECCOMP_IOCTL_NOTIF_SEND`: `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: u32 = 0xc000_2101 | (size_of::<Answer>() as u32) << 16;

/// Takes the next notice; `None` if whoever made the call has gone meanwhile. Blocks without one: ask
/// only once the listener can be read.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Notice>> {
    let mut notice = Notice::default();
    // SAFETY: the structure has the kernel's layout, is zeroed as it demands, and outlives the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut notice) };
    match result {
        0 => Ok(Some(notice)),
        _ => gone(io::Error::last_os_error()).map(|()| None),
    }
}

/// Lets the call fail with this error. Nothing happens if whoever made it has gone.
pub fn refuse(listener: BorrowedFd<'_>, notice: &Notice, errno: i32) -> io::Result<()> {
    let answer = Answer {
        id: notice.id,
        value: 0,
        error: -errno,
        flags: 0,
    };
    // SAFETY: the structure has the kernel's layout and outlives the call.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) };
    match result {
        0 => Ok(()),
        _ => gone(io::Error::last_os_error()),
    }
}

fn gone(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}
