//! The project's own chores: `cargo xtask help` lists them.

mod appliance;
mod buildroot;
mod cache;
mod clock;
mod debian;
mod firmware;
mod fuzz;
mod guest;
mod install;
mod kernel;
mod kit;
mod pi;
mod programs;
mod qemu;
mod sh;
mod slots;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use anyhow::Context;
use hearth_qemu_tests::Arch;

const HELP: &str = "\
cargo xtask test          everything CI runs; installs what it needs where it may
cargo xtask test full     the same, with power cut 50 times rather than 5 on each processor
cargo xtask test guest [ARCH [NAME]]  tests as root in virtual machines; with a NAME, those of cells that have it
cargo xtask test firmware [ARCH]  what starts a slot, under UEFI firmware in virtual machines
cargo xtask test appliance [ARCH [NAME]]  devices, from firmware to HTTPS, and all that can happen to them
cargo xtask test network [ARCH]  a device among real servers of addresses, names and time, in a network namespace
cargo xtask test flash [ARCH]  an image onto a card, by a machine of its own; and a device started from that card
cargo xtask test pi       the Raspberry Pi's image in QEMU's raspi4b, without the Pi's firmware
cargo xtask test boots [ARCH]  only those that boot the appliance's own init
cargo xtask test buildroot --tree DIR  what can be known of buildroot/ with a Buildroot 2026.08 in DIR, without building
cargo xtask kernel [ARCH]  the product's kernels, kept below ~/.cache/hearth; prints where they are
cargo xtask kit [BOARD]   all of an appliance but your functions, kept below ~/.cache/hearth/kits; prints where
cargo xtask tidy          formatting, lints, and the project's own rules of style
cargo xtask bench         Hearth beside its peers, in one run; `bench idle`: what idle connections cost
cargo xtask bench supervisor  the supervisor's size and memory, built as small as can be
cargo xtask bench postgres  a function that asks PostgreSQL, beside pgbench
cargo xtask chaos         Hearth under load while everything that can go wrong does; --minutes N
cargo xtask fuzz [N [T]]  N runs (default 1,000,000) of every fuzz target, or of T; needs nightly and cargo-fuzz
cargo xtask toolchain     what static workers are built with, for both processors, where it is not there yet
cargo xtask qemu          QEMU for both processors, where it is missing or too old
cargo xtask deny          licences, duplicates and sources of all dependencies; needs cargo-deny
";

#[expect(clippy::print_stderr, reason = "a chore talks to whoever started it")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["test"] => test::test(false),
        ["test", "full"] => test::test(true),
        ["test", "guest", ref words @ ..] => guest(words),
        ["test", "firmware", ref arches @ ..] => {
            named(arches).and_then(|arches| slots::test(&arches))
        }
        ["test", "appliance", ref words @ ..] => appliance(words),
        ["test", "network", ref arches @ ..] => {
            named(arches).and_then(|arches| appliance::network(&arches))
        }
        ["test", "flash", ref arches @ ..] => {
            named(arches).and_then(|arches| guest::flash::test(&arches))
        }
        ["test", "pi"] => pi::test(),
        ["test", "boots", ref arches @ ..] => {
            named(arches).and_then(|arches| guest::boots(&arches))
        }
        ["test", "buildroot", "--tree", tree] => buildroot::test(tree.as_ref()),
        ["kernel", ref arches @ ..] => named(arches).and_then(|arches| kernel::kernel(&arches)),
        ["kit", ref boards @ ..] => kit::kit(boards),
        ["tidy"] => tidy::tidy(),
        ["bench", ref rest @ ..] => test::bench(rest),
        ["chaos", ref rest @ ..] => test::chaos(rest),
        ["fuzz"] => fuzz::fuzz("1000000", None),
        ["fuzz", runs] => fuzz::fuzz(runs, None),
        ["fuzz", runs, target] => fuzz::fuzz(runs, Some(target)),
        ["qemu"] => qemu::ensure(),
        ["toolchain"] => toolchain::ensure(),
        ["deny"] => sh::cargo(&["deny", "check", "bans", "licenses", "sources"]),
        [] | ["help" | "--help" | "-h"] => {
            eprint!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tests of devices: of a processor if one is named, and those with a name if one is.
fn appliance(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => appliance::test(&Arch::ALL, None, &[]),
        [arch, names @ ..] => appliance::test(&named(&[arch])?, None, names),
    }
}

/// Tests as root: on a processor if one is named, and those of cells with a name if one is.
fn guest(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => guest::test(&Arch::ALL, &[]),
        [arch, names @ ..] => guest::test(&named(&[arch])?, names),
    }
}

/// The architectures that are named, or all.
fn named(arches: &[&str]) -> anyhow::Result<Vec<Arch>> {
    if arches.is_empty() {
        return Ok(Arch::ALL.into());
    }
    let parsed = arches.iter().map(|name| name.parse());
    parsed
        .collect::<Result<_, _>>()
        .context("which architecture?")
}
