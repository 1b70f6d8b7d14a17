//! Builds and starts Hearth with its default settings, with `examples/hello` or another function.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use nix::unistd::Pid;
use serde_json::Value;

use crate::group::{Group, tied};
use crate::out;
use crate::peer::BODY;
use crate::scratch::Scratch;
use crate::server::{Server, free_port};

/// File name of the manifest. The platform keeps its state in the same directory.
pub(crate) const MANIFEST: &str = "edge.yaml";

/// Programs of this repository that are not part of a release.
const CHORES: [&str; 2] = ["bench", "xtask"];

/// The directory with the measured programs. It is the directory of this program, so both are built with the same
/// profile.
#[derive(Debug)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// Uses the programs in this directory.
    pub(crate) fn of(directory: PathBuf) -> Programs {
        Programs(directory)
    }

    /// The path of a program.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Name and size in bytes of each program, sorted by name.
    pub(crate) fn sizes(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut sizes = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata()?;
            // The directory also contains directories, libraries and dependency files.
            let program = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
            if program && !name.contains('.') && !CHORES.contains(&name.as_str()) {
                sizes.push((name, meta.len()));
            }
        }
        sizes.sort();
        Ok(sizes)
    }
}

/// Environment variable that `cargo xtask test` sets after it has built the whole workspace.
const BUILT: &str = "HEARTH_WORKSPACE_BUILT";

/// Builds packages and examples with the profile and into the target directory of this program.
pub(crate) async fn build(packages: &[&str], examples_of: &[&str]) -> anyhow::Result<Programs> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let directory = own.parent().context("a program is in a directory")?;
    let target = directory
        .parent()
        .context("a release directory is in a target directory")?;
    out::say(format_args!(
        "building {}",
        [packages, examples_of].concat().join(", ")
    ));
    // `cargo xtask test` has built the whole workspace. Building only some packages would select other features and
    // build the libraries again.
    if env::var_os(BUILT).is_some() {
        return Ok(Programs(directory.to_owned()));
    }
    for (what, of) in [(None, packages), (Some("--examples"), examples_of)] {
        if of.is_empty() {
            continue;
        }
        let mut args: Vec<&str> = what.into_iter().collect();
        for package in of {
            args.extend(["--package", package]);
        }
        cargo_build(&args, target).await?;
    }
    Ok(Programs(directory.to_owned()))
}

/// Builds an example of the SDK that needs a feature, into the target directory of `programs`.
pub(crate) async fn build_example(
    programs: &Programs,
    name: &str,
    feature: &str,
) -> anyhow::Result<PathBuf> {
    out::say(format_args!("building {name}"));
    let args = ["--package", "hearth-sdk", "--example", name, "--features"];
    let target = programs.0.parent();
    let target = target.context("a release directory is in a target directory")?;
    cargo_build(&[&args[..], &[feature]].concat(), target).await?;
    Ok(programs.join("examples").join(name))
}

async fn cargo_build(args: &[&str], target: &Path) -> anyhow::Result<()> {
    let profile = profile()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(&cargo);
    command.args(["build", "--profile", &profile]).args(args);
    let status = command
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(status.success(), "it was not built: {status}");
    Ok(())
}

/// The profile of this program. Cargo names the directory after the profile, except that the one of `dev` is `debug`.
fn profile() -> anyhow::Result<String> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let directory = own.parent().and_then(Path::file_name);
    let name = directory.context("a program is in a directory")?;
    match name.to_string_lossy().into_owned() {
        name if name == "debug" => Ok("dev".to_owned()),
        name => Ok(name),
    }
}

/// The root directory of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

pub(crate) async fn start(programs: &Programs) -> anyhow::Result<Server> {
    let scratch = Scratch::new()?;
    let manifest = root().join("examples/hello").join(MANIFEST);
    copy(&manifest, &scratch.join(MANIFEST))?;
    fs::create_dir(scratch.join("bin"))?;
    copy(&programs.join("hello"), &scratch.join("bin/hello"))?;
    start_in(programs, scratch, "/", BODY).await
}

/// Starts a platform with the manifest and the functions in `scratch`. When this function returns, the platform has
/// answered a request for `path` with this JSON.
pub(crate) async fn start_in(
    programs: &Programs,
    scratch: Scratch,
    path: &str,
    json: &str,
) -> anyhow::Result<Server> {
    let address = free_port()?;
    let mut command = tied(programs.join("hearth"))?;
    command
        .arg("up")
        .arg(scratch.join(MANIFEST))
        .args(["--log", "quiet", "--listen"])
        .arg(format!("http={address}"))
        .args(["--listen", "https=off"]);
    let group = Group::start("hearth", &mut command, &scratch)?;
    let mut server = Server::answering(path, json, address, vec![group], scratch).await?;
    let status = status(programs, &server).await?;
    name_processes(&mut server, &status)?;
    Ok(server)
}

pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Sets the roles of the server's processes by the platform's status.
fn name_processes(server: &mut Server, status: &Status) -> anyhow::Result<()> {
    let [worker] = status.workers[..] else {
        bail!(
            "the function has {} workers and not one",
            status.workers.len()
        );
    };
    let known = [
        ("supervisor", status.supervisor),
        ("gateway", status.gateway),
        ("worker", worker),
    ];
    for (role, pid) in known {
        let process = server
            .processes
            .iter_mut()
            .find(|process| process.pid == pid);
        let process = process.with_context(|| format!("no process {pid}, the {role}, below it"))?;
        process.role = role.to_owned();
    }
    Ok(())
}

/// The part of `hearth status --json` that the benchmarks need.
#[derive(Debug, PartialEq)]
pub(crate) struct Status {
    pub(crate) supervisor: Pid,
    pub(crate) gateway: Pid,
    /// The ready workers of all functions.
    pub(crate) workers: Vec<Pid>,
}

pub(crate) async fn status(programs: &Programs, server: &Server) -> anyhow::Result<Status> {
    status_of(programs, &server.scratch.join(MANIFEST)).await
}

/// Queries the status of the platform that runs with this manifest.
pub(crate) async fn status_of(programs: &Programs, manifest: &Path) -> anyhow::Result<Status> {
    let output = tokio::process::Command::new(programs.join("hearth"))
        .arg("status")
        .arg(manifest)
        .arg("--json")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run hearth status")?;
    ensure!(
        output.status.success(),
        "hearth status failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    parse(&output.stdout).context("hearth status says something else than expected")
}

fn parse(json: &[u8]) -> Option<Status> {
    let status: Value = serde_json::from_slice(json).ok()?;
    let functions = status["functions"].as_array()?.iter();
    let workers = functions.filter_map(|function| function["workers"].as_array());
    let ready = workers
        .flatten()
        .filter(|worker| worker["state"] == "ready");
    Some(Status {
        supervisor: pid(&status["pid"])?,
        gateway: pid(&status["gateway"]["pid"])?,
        workers: ready
            .map(|worker| pid(&worker["pid"]))
            .collect::<Option<_>>()?,
    })
}

fn pid(value: &Value) -> Option<Pid> {
    Some(Pid::from_raw(value.as_i64()?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_gives_the_processes_and_only_ready_workers() {
        let json = br#"{"pid": 10, "gateway": {"pid": 11, "pss_bytes": 1}, "functions": [
            {"workers": [{"id": 1, "state": "killed", "pid": 12}, {"id": 2, "state": "ready", "pid": 13}]},
            {"workers": []}
        ]}"#;
        let expect = Status {
            supervisor: Pid::from_raw(10),
            gateway: Pid::from_raw(11),
            workers: vec![Pid::from_raw(13)],
        };
        assert_eq!(parse(json), Some(expect));
        assert_eq!(parse(b"{}"), None);
        assert_eq!(parse(b"no"), None);
    }
}
