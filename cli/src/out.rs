//! Output: data on stdout, messages on stderr.

use std::fmt;
use std::io::{self, Write};

/// How a command ended, unless it returned an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit status 0.
    Done,
    /// The command was not carried out and has printed the reason: exit status 1.
    Failed,
    /// The manifest is invalid, and the command has printed the errors: exit status 2.
    BadManifest,
}

/// Prints a line of data. If the reader has closed the pipe (`| head`), the process exits with status 0.
///
/// # Errors
/// Stdout cannot be written for another reason.
pub(crate) fn data(line: impl fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Prints a message. Errors are ignored, because there is nowhere left to report them.
pub(crate) fn talk(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
