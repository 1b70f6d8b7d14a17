//! What a cell reaches of files and ports, said once more by Landlock, which asks neither who somebody
//! is nor what is mounted.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Access, Mechanism, Plan};

/// The newest version whose rules this project has seen hold. The one of Linux 6.12, which the
/// appliance runs: what came later is not asked for.
const KNOWN: ABI = ABI::V6;

/// Restricts this process; says how far that went.
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
    // The program last: where it lies in a directory that is reached, it may be executed there.
    let own = [(plan.shown.as_path(), AccessFs::Execute | AccessFs::ReadFile)];
    let tmp = (plan.tmp > 0 && plan.apart != super::Apart::Not)
        .then(|| (Path::new("/tmp"), rights(Access::Write)));
    let files = plan.files.iter();
    let files = files.map(|one| (one.path.as_path(), rights(one.to)));
    for (path, rights) in files.chain(tmp).chain(own) {
        // What the system does not have, nobody reaches.
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
        // Connecting to a socket with a name is no right of this version; what is seen is decided by
        // what is mounted.
        Access::Connect => BitFlags::EMPTY,
    }
}
