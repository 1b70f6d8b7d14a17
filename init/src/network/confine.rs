//! What hearth-net gives up once it has begun: files that are none of its business, and capabilities
//! (capabilities(7)) that it does not need. It speaks with whoever is on the cable.

use std::error::Error;

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};

/// Addresses, whole frames, the ports of mDNS, the clock.
const KEPT: [Capability; 4] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_TIME,
];

/// Restricts this thread, and those that it starts: to be called while there is no other.
pub(super) fn confine() -> Result<(), Box<dyn Error>> {
    nix::sys::prctl::set_no_new_privs()?;
    const KNOWN: ABI = ABI::V6;
    // What the kernel at hand does not know of these is not there to be had.
    let read = [
        "/etc",
        "/run/hearth",
        "/proc",
        "/sys/class/net",
        "/dev/urandom",
    ];
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(KNOWN)))?
        .add_rules(path_beneath_rules(
            ["/run/hearth", "/proc/sys/net"],
            AccessFs::from_all(KNOWN),
        ))?
        .add_rules(path_beneath_rules(["/dev/kmsg"], AccessFs::from_all(KNOWN)))?
        .restrict_self()?;
    let kept = CapsHashSet::from(KEPT);
    for capability in caps::read(None, CapSet::Bounding)? {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
