//! Installs the Debian and Ubuntu packages that tasks need.

use std::io::{BufRead, IsTerminal, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;

use crate::needs::{Need, SERVICES};
use crate::sh::{has, run, run_quietly, say};

/// Whether packages are installed without asking on a terminal.
static YES: AtomicBool = AtomicBool::new(false);

/// Makes [`ensure`] install packages without asking (`--yes`).
pub fn answer_yes() {
    YES.store(true, Ordering::Relaxed);
}

/// Returns the missing packages, in the order of `needs`, each once.
pub fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut missing: Vec<&'static str> = Vec::new();
    for (program, package) in needs {
        if !has(program) && !missing.contains(package) {
            missing.push(package);
        }
    }
    missing
}

/// Installs missing packages if the user may; otherwise fails with the command that would install them.
///
/// On a terminal, this function asks first.
pub fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("missing packages: {}", missing.join(", ")));
    let Some(sudo) = root() else {
        bail!("cannot install packages; as root: {}", line(&missing));
    };
    if !has("apt-get") {
        bail!(
            "not a Debian or Ubuntu system; install what contains: {}",
            missing.join(", ")
        );
    }
    if !agreed("install them")? {
        bail!("nothing was installed; to do so: {}", line(&missing));
    }
    let apt = |args: &[&str]| {
        let words = [sudo, &["apt-get", "-q"], args].concat();
        run(words[0], &words[1..])
    };
    let install = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    let installed = apt(&["update"]).and_then(|()| apt(&install));
    disable_services(sudo, &missing);
    if installed.is_err() {
        bail!("cannot install packages; as root: {}", line(&missing));
    }
    match needs.iter().find(|(program, _)| !has(program)) {
        Some((program, package)) => {
            bail!("{package} is installed, but does not contain {program}")
        }
        None => Ok(()),
    }
}

/// Asks on a terminal, unless `--yes` was given. Without a terminal, the answer is yes.
pub fn agreed(to: &str) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    let asks = stdin.is_terminal() && std::io::stderr().is_terminal();
    if !asks || YES.load(Ordering::Relaxed) {
        return Ok(true);
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "== {to}? [Y/n] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "" | "y" | "yes"
    ))
}

/// Stops and disables the services of packages that were just installed, so that a test run leaves no server running.
/// Services that the user had before are not touched, because their packages were not missing.
fn disable_services(sudo: &[&str], installed: &[&str]) {
    for (package, services) in SERVICES {
        if !installed.contains(package) {
            continue;
        }
        for service in *services {
            // If systemd is not running, systemctl can still disable services, and service(8) stops them.
            for words in [
                &["service", service, "stop"][..],
                &["systemctl", "disable", "--now", service],
                &["update-rc.d", service, "disable"],
            ] {
                if has(words[0]) {
                    let words = [sudo, words].concat();
                    run_quietly(words[0], &words[1..]);
                }
            }
            say(&format!("disabled the service {service} of {package}"));
        }
    }
}

/// Returns the words before a command that must run as root, or `None` if this process is not root and there is no
/// sudo.
pub fn root() -> Option<&'static [&'static str]> {
    match (is_root(), has("sudo")) {
        (true, _) => Some(&[]),
        (false, true) => Some(&["sudo", "-n"]),
        (false, false) => None,
    }
}

fn line(missing: &[&str]) -> String {
    format!("apt-get update && apt-get install -y {}", missing.join(" "))
}

/// Returns whether this process runs as root.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_package_is_listed_once() {
        let needs = [
            ("no-such-program", "a"),
            ("/no/such/file", "a"),
            ("sh", "b"),
        ];
        assert_eq!(missing(&needs), ["a"]);
    }
}
