//! `cargo xtask fuzz`: runs the fuzz targets.

use std::{fs, io};

use anyhow::bail;
use xtask::sh::{root, run};
use xtask::toolchain;
use xtask::tools::Program;

/// The program that builds and runs fuzz targets.
const FUZZ: Program = Program {
    name: "cargo-fuzz",
    version: "0.13.1",
    wheel: None,
};

/// Returns the names of all targets. Each has a directory of seeds.
fn targets() -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(root().join("fuzz/corpus"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Fuzzes every target, or only one. New inputs go to `fuzz/libfuzzer/corpus`, which stays on this machine;
/// `fuzz/corpus` has the seeds that every run starts with.
pub(crate) fn fuzz(runs: u64, only: Option<&str>) -> anyhow::Result<()> {
    let mut wanted = targets()?;
    if let Some(name) = only {
        let all = wanted.join(", ");
        wanted.retain(|target| target == name);
        if wanted.is_empty() {
            bail!("unknown target {name}: expected one of {all}");
        }
    }
    toolchain::ensure()?;
    let cargo_fuzz = FUZZ.ensure()?;
    let cargo_fuzz = cargo_fuzz.to_string_lossy();
    let directory = root().join("fuzz/libfuzzer");
    for target in &wanted {
        let own = directory.join("corpus").join(target);
        let seeds = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&own)?;
        let (directory, own, seeds) = (
            directory.to_string_lossy(),
            own.to_string_lossy(),
            seeds.to_string_lossy(),
        );
        let runs = format!("-runs={runs}");
        let cargo = ["run", "nightly", &*cargo_fuzz, "run", "--fuzz-dir"];
        let rest = [&directory, target.as_str(), &own, &seeds, "--", &runs];
        run("rustup", &[&cargo[..], &rest].concat())?;
    }
    Ok(())
}
