//! The access of a sandbox to files and ports, restricted a second time by Landlock, which depends neither on the user
//! nor on mounts.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Access, Mechanism, Plan};

/// The newest version of Landlock whose rules this project has tested: that of Linux 6.12, which the appliance runs.
/// Later versions are not used.
const KNOWN: ABI = ABI::V6;

/// Restricts this process. Returns how much is enforced.
pub(super) fn restrict(plan: &Plan, version: u32) -> Result<Mechanism, RulesetError> {
    let level = match plan.strict {
        true => CompatLevel::HardRequirement,
        false => CompatLevel::BestEffort,
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    // The program has a rule of its own, so that it can be executed even in a directory that is only readable.
    let own = [(plan.shown.as_path(), AccessFs::Execute | AccessFs::ReadFile)];
    let tmp = (plan.tmp > 0 && plan.apart != super::Apart::Not)
        .then(|| (Path::new("/tmp"), rights(Access::Write)));
    let files = plan.files.iter();
    let files = files.map(|one| (one.path.as_path(), rights(one.to)));
    for (path, rights) in files.chain(tmp).chain(own) {
        // A path that the system does not have needs no rule.
        let Ok(file) = PathFd::new(path) else {
            continue;
        };
        let rights = match path.is_dir() {
            true => rights,
            false => rights & AccessFs::from_file(KNOWN),
        };
        if !rights.is_empty() {
            ruleset = ruleset.add_rule(PathBeneath::new(file, rights))?;
        }
    }
    for port in &plan.network.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => {
            Mechanism::enforced("landlock", format!("version {version}"))
        }
        RulesetStatus::PartiallyEnforced => Mechanism::missing(
            "landlock",
            format!("version {version} lacks some of version {KNOWN}: scopes or ports"),
        ),
        RulesetStatus::NotEnforced => {
            Mechanism::missing("landlock", "this kernel does not have it, or it is off")
        }
    })
}

fn rights(to: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match to {
        Access::Read => read,
        Access::Execute => read | AccessFs::Execute,
        Access::Write => {
            let never = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock;
            AccessFs::from_all(KNOWN) & !(never | AccessFs::IoctlDev)
        }
        Access::Device => AccessFs::ReadFile | AccessFs::WriteFile,
        // This version has no right for connecting to sockets with a path. Mounts decide which sockets are visible.
        Access::Connect => BitFlags::EMPTY,
    }
}
