//! The system's clock, led to the right time without a jump (adjtimex(2)).

use std::io;
use std::time::Duration;

use nix::libc;

/// Lets the clock run faster (or slower, if `behind` is false) until `by` is made up for: half a millisecond
/// a second. What an earlier call has left is forgotten.
///
/// # Errors
/// `EPERM` without CAP_SYS_TIME.
pub fn slew(by: Duration, behind: bool) -> io::Result<()> {
    let micros = libc::c_long::try_from(by.as_micros()).unwrap_or(libc::c_long::MAX);
    // SAFETY: all zeros is a value of this structure of numbers.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_OFFSET_SINGLESHOT;
    change.offset = if behind { micros } else { -micros };
    adjust(&mut change)
}

/// Tells the kernel that its clock is right, so that it keeps the hardware's clock by it.
///
/// # Errors
/// `EPERM` without CAP_SYS_TIME.
pub fn mark_synchronised() -> io::Result<()> {
    // SAFETY: as above.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_STATUS | libc::ADJ_ESTERROR | libc::ADJ_MAXERROR;
    adjust(&mut change)
}

fn adjust(change: &mut libc::timex) -> io::Result<()> {
    // SAFETY: the structure outlives the call, which reads and writes it.
    match unsafe { libc::adjtimex(change) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
