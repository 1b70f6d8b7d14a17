//! The only module that prints: results to stdout, progress and errors to stderr.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;

/// Prints a result.
pub(crate) fn data(what: impl Display) -> anyhow::Result<()> {
    let text = what.to_string();
    writeln!(io::stdout(), "{}", text.trim_end()).context("cannot write to stdout")
}

/// Prints progress or an error.
#[expect(clippy::print_stderr, reason = "a chore talks to whoever started it")]
pub(crate) fn say(what: impl Display) {
    eprintln!("{what}");
}
