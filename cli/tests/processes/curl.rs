//! curl, for TLS and HTTP/2: a client that is none of ours.

use std::process::Command;

/// How it ended and what it said.
#[derive(Debug)]
pub(crate) struct Curl {
    /// Its exit status: 0 if there was an answer, whichever; 60 where a certificate is not trusted.
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
