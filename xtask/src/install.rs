//! Programs that tests and benchmarks need, from Debian's and Ubuntu's packages.

use std::process::Command;

use anyhow::bail;

use crate::sh::{has, run, say};

/// A program, or the path of another file, and the package that brings it.
pub(crate) type Need = (&'static str, &'static str);

/// Installs what is missing, where that is allowed; elsewhere fails with the one line that would.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = needs
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("missing: {}", missing.join(", ")));
    let Some(sudo) = root() else {
        bail!("as root: {}", line(&missing));
    };
    if !has("apt-get") {
        bail!(
            "not a Debian or Ubuntu system; install what brings: {}",
            missing.join(", ")
        );
    }
    let apt = |args: &[&str]| {
        let all: Vec<&str> = sudo
            .iter()
            .copied()
            .chain(["apt-get", "-q"])
            .chain(args.iter().copied())
            .collect();
        run(all[0], &all[1..])
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    let installed = apt(&["update"]).and_then(|()| apt(&install));
    if installed.is_err() {
        bail!("could not install them; as root: {}", line(&missing));
    }
    match needs.iter().find(|(program, _)| !has(program)) {
        Some((program, package)) => bail!("{package} is installed and brings no {program}"),
        None => Ok(()),
    }
}

/// What makes a command root's; `None` where nothing can.
pub(crate) fn root() -> Option<&'static [&'static str]> {
    match (is_root(), has("sudo")) {
        (true, _) => Some(&[]),
        (false, true) => Some(&["sudo", "-n"]),
        (false, false) => None,
    }
}

fn line(missing: &[&str]) -> String {
    format!("apt-get update && apt-get install -y {}", missing.join(" "))
}

/// Whether all is allowed.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
