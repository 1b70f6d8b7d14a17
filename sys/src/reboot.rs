//! The machine's restart with a word for its firmware (reboot(2)), which no library offers.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;

use nix::libc;

/// Restarts the machine at once and hands `word` to whatever starts it next: the Raspberry Pi's firmware
/// takes `0 tryboot`. Nothing is written back before; only root may.
///
/// # Errors
/// `InvalidInput` for a word with a NUL, and what reboot(2) says.
pub fn restart_with(word: &str) -> io::Result<Infallible> {
    let word = CString::new(word)?;
    let (one, two) = (libc::LINUX_REBOOT_MAGIC1, libc::LINUX_REBOOT_MAGIC2);
    let restart = libc::LINUX_REBOOT_CMD_RESTART2;
    // SAFETY: the word is a C string that outlives the call, of which the kernel copies 256 bytes at most.
    unsafe { libc::syscall(libc::SYS_reboot, one, two, restart, word.as_ptr()) };
    Err(io::Error::last_os_error())
}
