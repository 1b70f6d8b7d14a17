//! What a process may do, where no library says it: the locks on capabilities, the version of Landlock,
//! namespaces entered.

use std::io;
use std::os::fd::OwnedFd;

use nix::libc;
use nix::sched::CloneFlags;

/// Locks this thread, and what it becomes, out of every way to capabilities but those that it has:
/// being or becoming root gives none, keeping them over a change of user and raising ambient ones is
/// off for good (capabilities(7), "The securebits flags").
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn lock_securebits() -> io::Result<()> {
    /// `SECBIT_NOROOT` and its lock, the lock of `SECBIT_NO_SETUID_FIXUP`, that of `SECBIT_KEEP_CAPS`,
    /// `SECBIT_NO_CAP_AMBIENT_RAISE` and its lock.
    const BITS: libc::c_ulong = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7;
    // SAFETY: the call takes a number.
    match unsafe { libc::prctl(libc::PR_SET_SECUREBITS, BITS, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The version of Landlock's interface (landlock_create_ruleset(2)); 0 where it is not to be had.
pub fn landlock_version() -> u32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`.
    const VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag the call reads nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// A namespace with nothing in it, of the one kind that `kind` says, which is called `name` in `/proc` (namespaces(7)):
/// `net`, where no interface is up, or `ipc`. Made by a thread of its own, so that this process stays where it is; it
/// lasts as long as somebody has it open or is in it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN, `EINVAL` if the kernel has none of the kind.
pub fn empty_namespace(kind: CloneFlags, name: &str) -> io::Result<OwnedFd> {
    let place = format!("/proc/thread-self/ns/{name}");
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(kind)?;
        Ok(std::fs::File::open(place)?.into())
    });
    let made = thread.join();
    made.unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")))
}
