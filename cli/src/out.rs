//! What is said: data on stdout, talk on stderr.

use std::fmt;
use std::io::{self, Write};

/// How a verb ended, where it did not fail for want of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit status 0.
    Done,
    /// What was asked was not done, and it has been said why: exit status 1.
    Failed,
    /// The manifest is wrong, and it has been said where: exit status 2.
    BadManifest,
}

/// Prints a line of data.
///
/// # Errors
/// A reader that has gone away (`| head`) ends the verb quietly, as it does elsewhere.
pub(crate) fn data(line: impl fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Prints a line of talk. With nobody there to read it there is nothing to be done.
pub(crate) fn talk(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
