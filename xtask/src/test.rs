//! `cargo xtask test`: everything CI runs. `cargo xtask bench`: hands over to the harness.

use std::time::Instant;

use hearth_qemu_tests::Arch;

use crate::install::{Need, ensure};
use crate::sh::{cargo, run, say, target};
use crate::{appliance, clock, guest, pi, slots, tidy, toolchain};

/// What the tests talk to, or talk with.
const FOR_TESTS: &[Need] = &[
    ("cc", "gcc"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("postgres", "postgresql"),
    ("redis-server", "redis-server"),
    ("memcached", "memcached"),
    ("setpriv", "util-linux"),
    // Images, as everyone's tools see them.
    ("sgdisk", "gdisk"),
    ("sfdisk", "fdisk"),
    ("mcopy", "mtools"),
    ("fsck.fat", "dosfstools"),
    ("resize2fs", "e2fsprogs"),
    ("cpio", "cpio"),
    ("zstd", "zstd"),
];

/// Peers of the benchmark and the program that loads them.
const FOR_BENCH: &[Need] = &[("cc", "gcc"), ("wrk", "wrk"), ("nginx", "nginx-light")];

/// What answers in `bench postgres`, and what it is compared with.
const FOR_BENCH_POSTGRES: &[Need] = &[
    ("cc", "gcc"),
    ("wrk", "wrk"),
    ("postgres", "postgresql"),
    ("pgbench", "postgresql"),
    ("setpriv", "util-linux"),
];

/// How often power is cut where time is no matter.
const FULL_CUTS: u32 = 50;

/// Everything; `full` has more of what is a sample otherwise.
pub(crate) fn test(full: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    part("tools", || {
        ensure(FOR_TESTS)?;
        toolchain::ensure()
    })?;
    part("style", tidy::tidy)?;
    part("tests on this machine", || {
        // Tests over real processes need the programs, whichever package's tests run first.
        cargo(&["build", "--workspace", "--all-targets"])?;
        cargo(&["test", "--workspace", "--no-fail-fast"])
    })?;
    // A short sample: ten faults of each kind at most. `cargo xtask chaos` is the whole.
    let bench = target().join("debug/bench");
    part("chaos", || {
        run(&bench.to_string_lossy(), &["chaos", "--seconds", "20"])
    })?;
    part("tests in virtual machines", || guest::test(&Arch::ALL, &[]))?;
    part("tests under UEFI firmware", || slots::test(&Arch::ALL))?;
    let cuts = full.then_some(FULL_CUTS);
    part("devices", || appliance::test(&Arch::ALL, cuts, &[]))?;
    // What it says to them is the same on every processor.
    part("a device among neighbours", || {
        appliance::network(&[Arch::X86_64])
    })?;
    part("the Raspberry Pi's image", pi::test)?;
    part("an image onto a card", || {
        guest::flash::test(&[Arch::X86_64])
    })?;
    say(&format!("all passed in {}", clock::took(begun)));
    Ok(())
}

/// One part of the whole, and how long it took.
fn part(what: &str, does: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let begun = Instant::now();
    does()?;
    say(&format!("{what}: {}", clock::took(begun)));
    Ok(())
}

pub(crate) fn chaos(args: &[&str]) -> anyhow::Result<()> {
    ensure(&FOR_TESTS[..1])?;
    let mut all = vec!["run", "--release", "--package", "bench", "--", "chaos"];
    all.extend(args);
    cargo(&all)
}

pub(crate) fn bench(args: &[&str]) -> anyhow::Result<()> {
    match args {
        ["postgres", ..] => ensure(FOR_BENCH_POSTGRES)?,
        _ => ensure(FOR_BENCH)?,
    }
    let mut all = vec!["run", "--release", "--package", "bench", "--"];
    all.extend(args);
    cargo(&all)
}
