//! What is unguessable, given to the kernel's pool (random(4)).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

/// The longest seed.
pub const LONGEST: usize = 512;

/// Mixes `seed` into the kernel's pool and counts it as 8 bits a byte, so that nobody waits for chance.
/// Only for what was written by this machine, kept from everybody, and is never used again.
///
/// # Errors
/// `InvalidInput` for a seed longer than [`LONGEST`], and what ioctl(2) says.
pub fn credit(seed: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 0x03, int[2])`.
    const RNDADDENTROPY: u64 = 0x4008_5203;
    /// `struct rand_pool_info`: bits, bytes, and the bytes.
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        bytes: libc::c_int,
        seed: [u8; LONGEST],
    }
    if seed.len() > LONGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = seed.len() as libc::c_int;
    let mut pool = Pool {
        bits: bytes * 8,
        bytes,
        seed: [0; LONGEST],
    };
    pool.seed[..seed.len()].copy_from_slice(seed);
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    // SAFETY: the structure has the kernel's layout, is at least as long as it says, and outlives the call.
    match unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY as _, &raw const pool) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
