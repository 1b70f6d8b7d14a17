//! `cargo xtask fuzz`: every fuzz target, for a number of runs.

use anyhow::bail;

use crate::sh::{has, root, run};

/// As in `fuzz/src/lib.rs`.
const TARGETS: &[&str] = &[
    "answers", "frames", "heads", "journal", "manifest", "requests",
];

/// Runs every target, or the one that is named. New inputs go to `fuzz/libfuzzer/corpus`, which is
/// kept on this machine; `fuzz/corpus` has the seeds that everybody begins with.
pub(crate) fn fuzz(runs: &str, only: Option<&str>) -> anyhow::Result<()> {
    if runs.parse::<u64>().is_err() {
        bail!("{runs:?} is no number of runs");
    }
    if let Some(name) = only
        && !TARGETS.contains(&name)
    {
        bail!("there is no target {name}, only {}", TARGETS.join(", "));
    }
    if !has("cargo-fuzz") {
        bail!("needs cargo-fuzz: cargo install cargo-fuzz");
    }
    let directory = root().join("fuzz/libfuzzer");
    let wanted = |target: &&&str| only.is_none_or(|name| name == **target);
    for target in TARGETS.iter().filter(wanted) {
        let own = directory.join("corpus").join(target);
        let seeds = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&own)?;
        let (directory, own, seeds) = (
            directory.to_string_lossy(),
            own.to_string_lossy(),
            seeds.to_string_lossy(),
        );
        let runs = format!("-runs={runs}");
        let cargo = ["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir"];
        let rest = [&directory, *target, &own, &seeds, "--", &runs];
        run("rustup", &[&cargo[..], &rest].concat())?;
    }
    Ok(())
}
