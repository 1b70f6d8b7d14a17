//! The supervisor at its smallest: how large it is, and what it takes when nothing happens.

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

/// What is built, and lies in one directory; the supervisor is the first.
const PROGRAMS: [&str; 4] = ["hearth-supervisor", "hearth", "hearth-cell", "hello"];

/// Size of the file and idle memory (PSS), each in bytes.
const TARGET: u64 = 3 << 20;

/// After the last request.
const REST: Duration = Duration::from_secs(5);

/// Builds, measures, tells, and fails where a target is missed.
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
        // The kernel keeps 15 bytes of a program's name.
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

/// As `hearth build --smallest` makes them: where they are.
async fn build() -> anyhow::Result<Vec<PathBuf>> {
    let programs = hearth::build(&["hearth"], &[]).await?;
    // Below the workspace, so that Cargo knows the programs; in a directory that git does not.
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
        // What is built for other manifests has other flags, and each would push the other out.
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

/// With one function, which has answered.
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
