//! `cargo xtask fuzz`: every fuzz target, for a number of runs.

use anyhow::bail;

use crate::sh::{has, root, run};

/// Directory of the fuzz crate and its targets.
const TARGETS: &[(&str, &str)] = &[
    ("protocol/fuzz", "frames"),
    ("manifest/fuzz", "manifest"),
    ("gateway/fuzz", "heads"),
];

pub(crate) fn fuzz(runs: &str) -> anyhow::Result<()> {
    if runs.parse::<u64>().is_err() {
        bail!("{runs:?} is no number of runs");
    }
    if !has("cargo-fuzz") {
        bail!("needs cargo-fuzz: cargo install cargo-fuzz");
    }
    for (directory, target) in TARGETS {
        let directory = root().join(directory);
        let directory = directory.to_string_lossy();
        let runs = format!("-runs={runs}");
        run(
            "rustup",
            &[
                "run",
                "nightly",
                "cargo",
                "fuzz",
                "run",
                "--fuzz-dir",
                &directory,
                target,
                "--",
                &runs,
            ],
        )?;
    }
    Ok(())
}
