//! Formats an error with its causes in one line.

use std::error::Error;

/// Formats an error and its causes, separated by colons, the outermost first.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
