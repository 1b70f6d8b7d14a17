//! The project's tasks: `cargo xtask help` lists them.

mod args;
mod bench;
mod buildroot;
mod fuzz;
mod machines;
mod test;
mod tidy;

use std::process::ExitCode;

use xtask::{kernel, qemu, sh, toolchain};

use args::{Args, Tests, Verb};

#[expect(
    clippy::print_stderr,
    reason = "a chore talks to the person who started it"
)]
fn main() -> ExitCode {
    let result = sh::forget_package().and_then(|()| run(Args::from_command_line().verb));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "paths are the result of these chores")]
fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Test { tests, options } => match tests {
            None => test::run(test::Size::Usual, &options),
            Some(Tests::Quick { crates }) => test::run(test::Size::Quick { crates }, &options),
            Some(Tests::Full { resume }) => test::run(test::Size::Full { resume }, &options),
            Some(Tests::Buildroot { tree }) => buildroot::test(&tree),
            Some(Tests::Part(words)) => machines::run(&words),
        },
        Verb::Tidy => tidy::tidy(),
        Verb::Kernel { arches } => {
            for arch in args::all_if_empty(arches) {
                println!("{}", kernel::ensure(arch)?.display());
            }
            Ok(())
        }
        Verb::Kit { boards } => machines::run(&[&["kit".to_owned()], &boards[..]].concat()),
        Verb::Toolchain => toolchain::ensure(),
        Verb::Qemu => qemu::ensure(),
        Verb::Bench { words } => bench::bench(&words),
        Verb::Chaos { words } => bench::chaos(&words),
        Verb::Fuzz { runs, target } => fuzz::fuzz(runs, target.as_deref()),
        Verb::Deny { checks } => tidy::deny(&checks),
        Verb::Soak { minutes } => bench::soak(minutes),
    }
}
