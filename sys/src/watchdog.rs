//! The hardware's watchdog (`linux/watchdog.h`): a timer that restarts the machine unless it is fed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::libc;

/// An open watchdog, which runs. Where the kernel was built so (NOWAYOUT), closing it does not stop it.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens it, which starts it.
    ///
    /// # Errors
    /// `NotFound` where the machine has none.
    pub fn open(path: &Path) -> io::Result<Watchdog> {
        Ok(Watchdog(OpenOptions::new().write(true).open(path)?))
    }

    /// Asks for a time without food after which it bites; the one that the hardware then has.
    ///
    /// # Errors
    /// What ioctl(2) says: `EINVAL` for more than it can.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        /// `_IOWR('W', 6, int)`.
        const SETTIMEOUT: u64 = 0xc004_5706;
        let mut seconds = libc::c_int::try_from(timeout.as_secs()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the call reads and writes one int that outlives it.
        let set = unsafe { libc::ioctl(self.0.as_raw_fd(), SETTIMEOUT as _, &raw mut seconds) };
        match set {
            0 => Ok(Duration::from_secs(u64::from(seconds.unsigned_abs()))),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Feeds it.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn feed(&mut self) -> io::Result<()> {
        // Any byte but `V`, which some drivers take for "stop".
        self.0.write_all(b"f")
    }
}
