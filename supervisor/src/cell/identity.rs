//! The user and the capabilities of a sandboxed process, which cannot gain others.

use std::fs;
use std::io;

use caps::CapSet;
use caps::errors::CapsError;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Maps the user and the group of the platform to the same ids in the process's new user namespace.
pub(super) fn map(uid: u32, gid: u32) -> io::Result<()> {
    // The kernel requires this before it accepts the map of groups: no groups can be dropped (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Gives up permanently the capabilities that could be gained: empties the bounding set, and locks the securebits.
/// Needs CAP_SETPCAP, so it comes before the change of user.
pub(super) fn bound() -> io::Result<()> {
    for capability in caps::all() {
        let dropped = caps::drop(None, CapSet::Bounding, capability);
        // An older kernel can neither drop nor have a capability that it does not know.
        let left = || caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
        if let Err(error) = dropped
            && left()
        {
            return Err(told(error));
        }
    }
    hearth_sys::privilege::lock_securebits()
}

/// Changes to this user and group, without supplementary groups.
pub(super) fn become_user(id: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Drops all capabilities, and checks that none is left.
pub(super) fn clear() -> io::Result<()> {
    // The order matters: an effective capability must be permitted. The ambient set is not checked, because an ambient
    // capability must be permitted and inheritable. The bounding set is not checked, because each drop from it has
    // succeeded.
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
