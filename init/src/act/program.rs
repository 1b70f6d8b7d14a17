//! A program run to its end for a step: what it prints goes to the kernel's log, it has a limit of time, and the
//! watchdog is fed meanwhile.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use hearth_sys::spawn::{Spawn, spawn};
use hearth_sys::wait::{Waiting, wait};

use super::{ActError, Feeder, file};
use crate::kernel_log::{KernelLog, Level};

/// How much of what it prints is kept.
const LONGEST: usize = 16 * 1024;

/// Runs it; its exit status, 128 and the signal's number if one ended it.
///
/// # Errors
/// If it cannot be started, or takes longer than `limit`, when it is killed.
pub fn run(
    program: &str,
    args: &[&str],
    limit: Duration,
    log: &mut KernelLog,
    feeder: &mut Feeder,
) -> Result<i32, ActError> {
    use std::os::unix::process::ExitStatusExt;
    let mut child = spawn(Spawn {
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/bin:/sbin".into())],
        ..Spawn::new(program.into())
    })
    .map_err(file("run", program))?;
    let mut streams: Vec<OwnedFd> = child.stdout.take().into_iter().collect();
    streams.extend(child.stderr.take());
    let (mut said, until) = (Vec::new(), Instant::now() + limit);
    while !streams.is_empty() {
        feeder.feed();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It has ended meanwhile, or does now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(ActError::Program {
                program: program.to_owned(),
                ended: format!("did not end within {} seconds", limit.as_secs()),
            });
        }
        let mut set: Vec<Waiting<'_>> = streams
            .iter()
            .map(|stream| Waiting::read(stream.as_fd()))
            .collect();
        let turn = left.min(Duration::from_secs(1));
        wait(&mut set, Some(turn)).map_err(file("wait for", program))?;
        let ready: Vec<bool> = set.iter().map(|one| one.readable).collect();
        let mut ready = ready.into_iter();
        streams.retain(|stream| !ready.next().unwrap_or(false) || takes(stream, &mut said));
    }
    for line in String::from_utf8_lossy(&said).lines() {
        log.say(Level::Notice, &format!("{program}: {line}"));
    }
    let status = child.wait().map_err(file("wait for", program))?;
    let signal = status.signal().unwrap_or(0);
    Ok(status.code().unwrap_or(128 + signal))
}

/// Takes what the stream has; whether there may be more.
fn takes(stream: &OwnedFd, said: &mut Vec<u8>) -> bool {
    let mut room = [0; 4096];
    let Ok(stream) = stream.try_clone() else {
        return false;
    };
    match File::from(stream).read(&mut room) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            let left = LONGEST.saturating_sub(said.len());
            said.extend(&room[..count.min(left)]);
            true
        }
    }
}
