//! Measures the smallest build of the supervisor: the size of its file and its memory when idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::group::{Group, tied};
use crate::hearth::{self, MANIFEST};
use crate::out;
use crate::peer::BODY;
use crate::scratch::Scratch;
use crate::server::{Server, free_port};
use crate::usage;

/// The programs, which are installed in one directory. The first is the supervisor.
const PROGRAMS: [&str; 4] = ["hearth-supervisor", "hearth", "hearth-cell", "hello"];

/// Target for the file size and for the idle memory (PSS), in bytes each.
const TARGET: u64 = 3 << 20;

/// Time between the last request and the measurement.
const REST: Duration = Duration::from_secs(5);

/// Builds the programs, measures them and prints the result. Fails if a target is missed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let mut sizes = Vec::new();
    for (name, built) in PROGRAMS.iter().zip(build().await?) {
        hearth::copy(&built, &scratch.join(name))?;
        sizes.push(fs::metadata(&built)?.len());
    }
    let server = start(scratch).await?;
    tokio::time::sleep(REST).await;
    let [own, ..] = &server.processes[..] else {
        anyhow::bail!("it has no process");
    };
    let (size, memory) = (sizes[0], usage::memory(own)?);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    out::data(format_args!(
        "| static program | size | idle, with one function (PSS) |\n|---|---|---|\n"
    ))?;
    for (name, size) in PROGRAMS.iter().zip(&sizes) {
        // The kernel stores only 15 bytes of a program's name.
        let process = server
            .processes
            .iter()
            .find(|one| one.role == name[..name.len().min(15)]);
        let memory = process.map(usage::memory).transpose()?;
        let memory = memory.map_or_else(String::new, |bytes| format!("{:.2} MiB", mib(bytes)));
        out::data(format_args!(
            "| `{name}` | {:.2} MiB | {memory} |\n",
            mib(*size)
        ))?;
    }
    ensure!(
        size < TARGET && memory < TARGET,
        "the supervisor has {:.2} MiB and takes {:.2}, less than {} each",
        mib(size),
        mib(memory),
        mib(TARGET)
    );
    Ok(())
}

/// Builds the programs with `hearth build --smallest` and returns their paths.
async fn build() -> anyhow::Result<Vec<PathBuf>> {
    let programs = hearth::build(&["hearth"], &[]).await?;
    // The directory is within the workspace, so that Cargo finds the programs, and git ignores it.
    let place = hearth::root().join(".hearth/smallest");
    fs::create_dir_all(&place)?;
    let mut text = "service: smallest\nfunctions:\n".to_owned();
    for name in PROGRAMS {
        text += &format!("  {name}: {{ routes: [{{ path: /{name} }}], binary: {name} }}\n");
    }
    let manifest = place.join(MANIFEST);
    fs::write(&manifest, text)?;
    let output = tokio::process::Command::new(programs.join("hearth"))
        .arg("build")
        .arg(&manifest)
        .args(["--smallest", "--json", "--no-default-features"])
        // Builds for other manifests use other flags. In a common target directory, they would replace each other.
        .env("CARGO_TARGET_DIR", programs.join("../smallest"))
        .current_dir(hearth::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run hearth")?;
    ensure!(
        output.status.success(),
        "they were not built: {}",
        output.status
    );
    let said: Value = serde_json::from_slice(&output.stdout).context("what `hearth build` says")?;
    PROGRAMS.iter().map(|name| binary(&said, name)).collect()
}

fn binary(said: &Value, name: &str) -> anyhow::Result<PathBuf> {
    let mut all = said.as_array().into_iter().flatten();
    let built = all.find(|one| one["function"] == name);
    let built = built.and_then(|one| one["binary"].as_str());
    let built = built.with_context(|| format!("`hearth build` made no {name}"))?;
    Ok(hearth::root().join(Path::new(built)))
}

/// Starts the supervisor with one function and waits for a response of the function.
async fn start(scratch: Scratch) -> anyhow::Result<Server> {
    let address = free_port()?;
    let manifest = format!(
        "service: idle\ngateway: {{ listen: {{ http: {address} }} }}\n\
         functions: {{ hello: {{ routes: [{{ path: / }}], binary: hello }} }}\n"
    );
    let manifest = scratch.write(MANIFEST, &manifest)?;
    let mut command = tied(scratch.join(PROGRAMS[0]))?;
    let group = Group::start("hearth-supervisor", command.arg(manifest), &scratch)?;
    Server::answering("/", BODY, address, vec![group], scratch).await
}
