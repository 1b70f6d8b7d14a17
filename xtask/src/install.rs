//! Installs Debian and Ubuntu packages that chores need.

use std::io::{BufRead, IsTerminal, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;

use crate::needs::{Need, SERVICES};
use crate::sh::{has, run, run_quietly, say};

/// Whether packages are installed on a terminal without a question.
static YES: AtomicBool = AtomicBool::new(false);

/// From now on, installs packages without asking (`--yes`).
pub fn answer_yes() {
    YES.store(true, Ordering::Relaxed);
}

/// The packages that are missing, in the order of `needs`, each once.
pub fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut missing: Vec<&'static str> = Vec::new();
    for (program, package) in needs {
        if !has(program) && !missing.contains(package) {
            missing.push(package);
        }
    }
    missing
}

/// Installs what is missing, where the user may; elsewhere fails with the one command that would.
///
/// On a terminal, asks first.
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

/// Asks on a terminal, unless `--yes` was given. Without a terminal the answer is yes.
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

/// Stops and disables the services of packages that were just installed: a test run leaves no server behind. A
/// service that the user had before is not touched, because its package was not missing.
fn disable_services(sudo: &[&str], installed: &[&str]) {
    for (package, services) in SERVICES {
        if !installed.contains(package) {
            continue;
        }
        for service in *services {
            // Where systemd does not run, it still disables, and the older tool stops.
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

/// The words before a command that root must run; `None` if neither root nor sudo is there.
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

/// Whether this process runs as root.
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
