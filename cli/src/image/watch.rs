//! What QEMU says of its machine, by its protocol for programs (QMP): whether the accelerator has given up on it. QEMU
//! itself then lets the machine stand, and waits for somebody to look at it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::Value;

/// Two ends: the first for [`gave_up`], the second for QEMU, which inherits it.
pub(super) fn ends() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok((ours, theirs))
}

/// What tells QEMU to talk there.
pub(super) fn words(theirs: &UnixStream) -> [String; 4] {
    [
        "-chardev".to_owned(),
        format!("socket,id=watch,fd={}", theirs.as_raw_fd()),
        "-mon".to_owned(),
        "chardev=watch,mode=control".to_owned(),
    ]
}

/// Listens until QEMU ends. A machine that its accelerator cannot carry on is ended, and that is the answer.
pub(super) fn gave_up(ours: UnixStream) -> bool {
    let mut stream = BufReader::new(ours);
    let mut given_up = false;
    let say = |stream: &mut BufReader<UnixStream>, command: &str| {
        let text = format!("{{\"execute\":\"{command}\"}}\n");
        stream.get_mut().write_all(text.as_bytes())
    };
    let mut line = String::new();
    // A QEMU that cannot be talked to is one that ends.
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        line.clear();
        let answer = if !said["QMP"].is_null() {
            "qmp_capabilities"
        } else if said["event"] == "STOP" {
            "query-status"
        } else if said["return"]["status"] == "internal-error" {
            given_up = true;
            "quit"
        } else {
            continue;
        };
        if say(&mut stream, answer).is_err() {
            break;
        }
    }
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a QEMU says to the end, and what it was told.
    fn told(says: &[&str]) -> (bool, Vec<String>) {
        let (ours, theirs) = ends().unwrap();
        let listens = std::thread::spawn(move || gave_up(ours));
        let mut theirs = BufReader::new(theirs);
        let mut told = Vec::new();
        for text in says {
            writeln!(theirs.get_mut(), "{text}").unwrap();
            let wants_answer = !text.contains("RESET") && !text.contains("paused");
            let mut line = String::new();
            if wants_answer {
                theirs.read_line(&mut line).unwrap();
                told.push(line.trim().to_owned());
            }
        }
        drop(theirs);
        (listens.join().unwrap(), told)
    }

    #[test]
    fn a_machine_that_stands_still_by_itself_is_ended() {
        let stopped = r#"{"event":"STOP"}"#;
        let greeting = r#"{"QMP":{}}"#;
        let (given_up, said) = told(&[
            greeting,
            r#"{"event":"RESET"}"#,
            stopped,
            r#"{"return":{"running":false,"status":"internal-error"}}"#,
        ]);
        assert!(given_up);
        assert_eq!(said[2], r#"{"execute":"quit"}"#);
        // One that somebody has stopped at its monitor goes on when he wants.
        let paused = r#"{"return":{"running":false,"status":"paused"}}"#;
        let (given_up, said) = told(&[greeting, stopped, paused]);
        assert!(!given_up);
        assert_eq!(said.len(), 2);
    }
}
