//! The command line.

use std::path::PathBuf;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand};
use hearth_image::Arch;

/// Run the project's tasks: tests, style checks, builds and benchmarks
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Args {
    /// Parses the command line. Ends the process with status 2 if it is invalid.
    pub(crate) fn from_command_line() -> Args {
        match Args::try_parse() {
            Ok(args) => args,
            Err(error) if error.kind() == ErrorKind::InvalidSubcommand => {
                let unknown = error.get(ContextKind::InvalidSubcommand);
                let unknown = unknown.map(ToString::to_string).unwrap_or_default();
                let command = Args::command();
                let verbs = command.get_subcommands().map(|verb| verb.get_name());
                let verbs: Vec<&str> = verbs.collect();
                usage_error(&format!(
                    "unknown verb {unknown:?}: expected one of {}",
                    verbs.join(", ")
                ))
            }
            Err(error) => error.exit(),
        }
    }
}

/// Reports an invalid command line, and ends the process with status 2.
pub(crate) fn usage_error(message: &str) -> ! {
    let mut command = Args::command();
    command.error(ErrorKind::InvalidSubcommand, message).exit()
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the tests: all of them, or a size or part of them
    #[command(args_conflicts_with_subcommands = true)]
    Test {
        #[command(subcommand)]
        tests: Option<Tests>,
        #[command(flatten)]
        options: Options,
    },
    /// Check formatting, lints, documentation, and the project's own rules of style
    Tidy,
    /// Build the product's kernels, and print where they are kept
    Kernel {
        /// x86_64, aarch64; both if none is named
        arches: Vec<Arch>,
    },
    /// Build kits, which contain all of an appliance but its functions, and print where they are kept
    Kit {
        /// qemu-x86_64, qemu-aarch64, nuc, rpi4; all if none is named
        boards: Vec<String>,
    },
    /// Install what building static workers needs, for both architectures
    Toolchain,
    /// Install QEMU for both architectures, if it is missing or too old
    Qemu,
    /// Compare Hearth's performance with that of other servers; `bench --help` lists the other benchmarks
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Put Hearth under load while injecting faults: --minutes N, --only FAULT
    #[command(disable_help_flag = true)]
    Chaos {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Keep Hearth under 80 % of its maximum load, and check that its memory does not grow
    Soak {
        /// Duration in minutes
        #[arg(long, default_value_t = 120)]
        minutes: u32,
    },
    /// Fuzz every reader of untrusted bytes; installs nightly Rust and cargo-fuzz if they are missing
    Fuzz {
        /// Runs of each target
        #[arg(default_value_t = 1_000_000)]
        runs: u64,
        /// One target, instead of all
        target: Option<String>,
    },
    /// Check licences, duplicates and sources of all dependencies with cargo-deny
    Deny {
        /// Checks of cargo-deny; `advisories` needs the network
        #[arg(default_values_t = ["bans", "licenses", "sources"].map(str::to_owned))]
        checks: Vec<String>,
    },
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Options {
    /// Also run parts that have passed with the same inputs
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Install packages without asking
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// Run only parts with this in their names, such as `x86_64` or `devices`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Only print what would run
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tests {
    /// Style, and the host's tests of what changed and of what depends on it: 5 minutes at most, 8 in a fresh clone
    Quick {
        /// Only tests of these packages and of those that depend on them
        crates: Vec<String>,
    },
    /// Everything, nothing from the cache: 50 power cuts, long fuzzing, and a soak of two hours
    Full {
        /// Continue a full run that failed or was interrupted: parts that passed with the same inputs are not
        /// repeated
        #[arg(long)]
        resume: bool,
    },
    /// Check the parts of `buildroot/` that can be checked without the network
    Buildroot {
        /// A Buildroot source tree of the release that buildroot/README.md names
        #[arg(long)]
        tree: PathBuf,
    },
    /// Run a part in virtual machines: `guest`, `boots`, `firmware`, `devices`, `power`, `network`, `flash` or `pi`,
    /// with its arguments (`cargo xtask test guest --help`)
    #[command(external_subcommand)]
    Part(Vec<String>),
}

/// Returns these architectures, or all if there are none.
pub(crate) fn all_if_empty(arches: Vec<Arch>) -> Vec<Arch> {
    match arches.is_empty() {
        true => Arch::ALL.into(),
        false => arches,
    }
}
