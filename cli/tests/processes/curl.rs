//! Runs curl as an independent client for TLS and HTTP/2.

use std::process::Command;

/// The result of a run of curl.
#[derive(Debug)]
pub(crate) struct Curl {
    /// The exit status: 0 if there was a response, whatever its status; 60 if curl does not trust a certificate.
    pub(crate) exit: i32,
    pub(crate) out: String,
}

pub(crate) fn curl(args: &[&str]) -> Curl {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .output()
        .expect("curl is installed");
    Curl {
        exit: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
    }
}
