//! Makes kits, and runs tests in virtual machines. `cargo xtask kit` and `cargo xtask test PART` build and run this
//! program.

mod appliance;
mod firmware;
mod guest;
mod kit;
mod pi;
mod programs;
mod slots;
mod speed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hearth_image::{Arch, Board};

/// Make kits, and run tests in virtual machines
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask test", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build kits, which contain all of an appliance but its functions (`cargo xtask kit`)
    Kit {
        /// qemu-x86_64, qemu-aarch64, nuc, rpi4; all if none is named
        boards: Vec<Board>,
    },
    /// Run tests as root on the product's kernel: smoke, attacks, many, reach, or tests of `attacks` by a part of
    /// their name
    Guest {
        #[command(flatten)]
        which: Which,
    },
    /// Boot the appliance's own init, with a stand-in for the platform
    Boots {
        #[command(flatten)]
        which: Which,
    },
    /// Start slots with selector and stub under UEFI firmware: trials, damaged slots
    Firmware {
        #[command(flatten)]
        which: Which,
    },
    /// Run tests of devices: images with the real kit, from power to HTTPS
    Devices {
        #[command(flatten)]
        which: Which,
        /// Skip tests with this in their names
        #[arg(long)]
        skip: Vec<String>,
    },
    /// Cut a device's power at random moments
    Power {
        #[command(flatten)]
        which: Which,
        /// Number of power cuts
        #[arg(long, default_value_t = 5)]
        cuts: u32,
    },
    /// Test a device among real servers for addresses, names and time, in a network namespace
    Network {
        #[command(flatten)]
        which: Which,
    },
    /// Flash an image onto a card in a machine, and start a device from that card
    Flash {
        #[command(flatten)]
        which: Which,
    },
    /// Boot the Raspberry Pi's image in QEMU's raspi4b, without the Pi's firmware
    Pi,
}

/// The tests of a part to run.
#[derive(Debug, clap::Args)]
struct Which {
    /// An architecture, x86_64 or aarch64 (default: both), and names of tests (default: all)
    words: Vec<String>,
}

impl Which {
    /// Returns the architectures and the names.
    fn split(self) -> (Vec<Arch>, Vec<String>) {
        let (mut arches, mut names) = (Vec::new(), Vec::new());
        for word in self.words {
            match word.parse() {
                Ok(arch) => arches.push(arch),
                Err(_) => names.push(word),
            }
        }
        match arches.is_empty() {
            true => (Arch::ALL.into(), names),
            false => (arches, names),
        }
    }

    /// Returns the architectures. For parts whose tests have no names.
    fn arches(self) -> anyhow::Result<Vec<Arch>> {
        match self.split() {
            (arches, names) if names.is_empty() => Ok(arches),
            (_, names) => anyhow::bail!(
                "unknown architecture {:?}: expected x86_64 or aarch64",
                names[0]
            ),
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
fn main() -> ExitCode {
    match run(Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Kit { boards } => kit::kit(boards),
        Verb::Guest { which } => {
            let (arches, names) = which.split();
            guest::test(&arches, &names)
        }
        Verb::Boots { which } => guest::boots(&which.arches()?),
        Verb::Firmware { which } => slots::test(&which.arches()?),
        Verb::Devices { which, skip } => {
            let (arches, names) = which.split();
            appliance::test(&arches, &names, &skip)
        }
        Verb::Power { which, cuts } => appliance::power(&which.arches()?, cuts),
        Verb::Network { which } => appliance::network(&which.arches()?),
        Verb::Flash { which } => guest::flash::test(&which.arches()?),
        Verb::Pi => pi::test(),
    }
}
