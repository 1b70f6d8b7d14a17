//! Who a cell's process is, and that it can become nobody else.

use std::fs;
use std::io;

use caps::CapSet;
use caps::errors::CapsError;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Makes the user of the platform, in a user namespace of its own, who he is outside.
pub(super) fn map(uid: u32, gid: u32) -> io::Result<()> {
    // Without groups to give up, which the kernel demands first (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Gives up for good what could be gained: the bounding set, and every way around it. Needs
/// CAP_SETPCAP, so it comes before the change of user.
pub(super) fn bound() -> io::Result<()> {
    for capability in caps::all() {
        let dropped = caps::drop(None, CapSet::Bounding, capability);
        // What an older kernel does not know, it cannot drop, nor have.
        let left = || caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
        if let Err(error) = dropped
            && left()
        {
            return Err(told(error));
        }
    }
    hearth_sys::privilege::lock_securebits()
}

/// Becomes a user of its own, without other groups.
pub(super) fn become_user(id: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Gives up what there is, and looks that nothing is left.
pub(super) fn clear() -> io::Result<()> {
    // The order matters: what is effective must be permitted. What is ambient must be permitted and
    // inheritable, so that it need not be looked at; every drop from the bounding set has said that it is done.
    let sets = [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ];
    for set in sets {
        caps::clear(None, set).map_err(told)?;
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        if !caps::read(None, set).map_err(told)?.is_empty() {
            return Err(io::Error::other(format!("{set:?} capabilities are left")));
        }
    }
    Ok(())
}

fn told(error: CapsError) -> io::Error {
    io::Error::other(error.to_string())
}
