//! Watches QEMU by its machine protocol (QMP), to detect that the accelerator cannot run the machine. QEMU itself
//! would only pause the machine and wait for a user.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::Value;

/// A pair of sockets: the first for [`gave_up`], the second for QEMU, which inherits it.
pub(super) fn ends() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok((ours, theirs))
}

/// QEMU's arguments for a QMP monitor on this socket.
pub(super) fn words(theirs: &UnixStream) -> [String; 4] {
    [
        "-chardev".to_owned(),
        format!("socket,id=watch,fd={}", theirs.as_raw_fd()),
        "-mon".to_owned(),
        "chardev=watch,mode=control".to_owned(),
    ]
}

/// Reads events until QEMU ends. If the accelerator cannot run the machine, ends the machine and returns `true`.
pub(super) fn gave_up(ours: UnixStream) -> bool {
    let mut stream = BufReader::new(ours);
    let mut given_up = false;
    let say = |stream: &mut BufReader<UnixStream>, command: &str| {
        let text = format!("{{\"execute\":\"{command}\"}}\n");
        stream.get_mut().write_all(text.as_bytes())
    };
    let mut line = String::new();
    // If the socket fails, QEMU has ended.
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

    /// Sends `says` as QEMU would. Returns the result of `gave_up`, and the commands that it has sent.
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
        // A machine that a user has paused at the monitor is left alone.
        let paused = r#"{"return":{"running":false,"status":"paused"}}"#;
        let (given_up, said) = told(&[greeting, stopped, paused]);
        assert!(!given_up);
        assert_eq!(said.len(), 2);
    }
}
