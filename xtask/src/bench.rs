//! `cargo xtask bench`, `cargo xtask chaos` and `cargo xtask soak`: run the harness in `bench/`.

use xtask::install::ensure;
use xtask::needs;
use xtask::sh::cargo;

/// Runs a benchmark, with the programs built as for a release.
pub(crate) fn bench(args: &[String]) -> anyhow::Result<()> {
    match args.first().map(String::as_str) {
        Some("postgres") => ensure(needs::BENCH_POSTGRES)?,
        _ => ensure(needs::BENCH)?,
    }
    harness("dist", args)
}

/// Injects faults into a loaded platform. The results do not depend on the compiler's optimisation level.
pub(crate) fn chaos(args: &[String]) -> anyhow::Result<()> {
    ensure(needs::CHAOS)?;
    harness("release", &[&["chaos".to_owned()], args].concat())
}

/// Runs a verb of the harness, built with this profile.
fn harness(profile: &str, args: &[String]) -> anyhow::Result<()> {
    let mut words = vec!["run", "--profile", profile, "--package", "bench", "--"];
    words.extend(args.iter().map(String::as_str));
    cargo(&words)
}

/// Keeps a platform under load for a long time.
pub(crate) fn soak(minutes: u32) -> anyhow::Result<()> {
    ensure(needs::CHAOS)?;
    let words = ["soak", "--minutes", &minutes.to_string()].map(str::to_owned);
    harness("release", &words)
}
