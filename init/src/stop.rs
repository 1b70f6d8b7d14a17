//! The machine's end, in order: the platform, the network, everybody else; what is kept; the disks; the power.
//! The watchdog is fed while somebody is waited for, and while the disks take what is left to be written, each for a
//! limited time: what hangs after that is bitten.

use std::convert::Infallible;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use crate::act::{chain, clock, mounts, seed, text};
use crate::place::{BOOT, DATA, RESTART_WORD};
use crate::run::Runner;
use crate::serve::{End, ended};

/// What the platform may take to finish what it has begun.
const PLATFORM: Duration = Duration::from_secs(20);
/// What the network's process may take to say goodbye.
const NETWORK: Duration = Duration::from_secs(2);
/// What the disks may take. Little is unwritten at any time, but an old card may write it slowly.
const DISKS: Duration = Duration::from_secs(90);
/// How often the watchdog is fed meanwhile.
const TURN: Duration = Duration::from_secs(1);

/// Ends everything, then the machine.
///
/// # Errors
/// If the kernel refuses that.
pub fn stop(runner: &mut Runner, end: End) -> nix::Result<Infallible> {
    runner.log.notice(match end {
        End::Restart => "the machine restarts",
        End::PowerOff => "the machine switches itself off",
        End::Halt => "the machine stops",
    });
    finish(runner, true, PLATFORM);
    finish(runner, false, NETWORK);
    // Whoever lives on, in whatever group; ESRCH if nobody does.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while ended().is_some() {}
    put_away(runner);
    runner.log.notice("the end");
    let word = text(RESTART_WORD, 64).filter(|word| is_word(word.trim()));
    match (end, word) {
        (End::Restart, Some(word)) => {
            // It only fails where the kernel knows no such word; then without.
            let _ = hearth_sys::reboot::restart_with(word.trim());
            reboot(RebootMode::RB_AUTOBOOT)
        }
        (End::Restart, None) => reboot(RebootMode::RB_AUTOBOOT),
        (End::PowerOff, _) => reboot(RebootMode::RB_POWER_OFF),
        (End::Halt, _) => reboot(RebootMode::RB_HALT_SYSTEM),
    }
}

/// What is kept is written, and the disks are let go, in a thread that may wait for them.
fn put_away(runner: &mut Runner) {
    let (done, wait) = channel();
    let time = runner.known_time();
    let work = move || {
        // Nobody listens any more if it took too long.
        let _ = done.send(let_disks_go(time));
    };
    let thread = std::thread::Builder::new().name("disks".to_owned());
    if let Err(error) = thread.spawn(work) {
        runner.log.error(&format!("no thread: {error}"));
        sync();
        return;
    }
    let until = Instant::now() + DISKS;
    while Instant::now() < until {
        runner.feeder.feed();
        match wait.recv_timeout(TURN) {
            Ok(errors) => {
                for error in errors {
                    runner.log.error(&error);
                }
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let seconds = DISKS.as_secs();
    let told = format!("the disks did not end within {seconds} seconds");
    runner.log.error(&told);
}

/// What went wrong with it.
fn let_disks_go(time: u64) -> Vec<String> {
    let mut errors = Vec::new();
    if let Err(error) = clock::save(time) {
        errors.push(format!("the time was not saved: {}", chain(&error)));
    }
    if let Err(error) = seed::save(None) {
        errors.push(format!("the seed was not saved: {}", chain(&error)));
    }
    sync();
    for place in [DATA, BOOT] {
        match mounts::unmount_or_seal(place) {
            Ok(()) => {}
            // Nothing is mounted there.
            Err(error) if !is_mounted(place) => drop(error),
            Err(error) => errors.push(chain(&error)),
        }
    }
    sync();
    errors
}

/// What firmware takes: a number, and a word.
fn is_word(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ';
    !word.is_empty() && word.bytes().all(known)
}

fn is_mounted(place: &str) -> bool {
    let mounts = text("/proc/self/mounts", 64 * 1024).unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(place))
}

/// Asks a child to end, waits for it, and ends what is left of it.
fn finish(runner: &mut Runner, vital: bool, limit: Duration) {
    let children = &mut runner.children;
    let pick = |children: &mut crate::serve::Children| match vital {
        true => (children.supervisor.pid(), children.supervisor.group),
        false => (children.network.pid(), children.network.group),
    };
    let service = match vital {
        true => &mut children.supervisor,
        false => &mut children.network,
    };
    service.signal(Signal::SIGTERM);
    let name = service.name;
    let until = Instant::now() + limit;
    while pick(&mut runner.children).0.is_some() {
        if Instant::now() >= until {
            let seconds = limit.as_secs();
            runner
                .log
                .error(&format!("{name} did not end within {seconds} seconds"));
            break;
        }
        runner.feeder.feed();
        runner.children.take_output(&mut runner.log);
        while let Some((pid, _)) = ended() {
            if let Some(service) = runner.children.of(pid) {
                service.buried();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let group = pick(&mut runner.children).1;
    if group.is_populated()
        && let Err(error) = group.kill()
    {
        runner.log.error(&format!("{name}: {}", chain(&error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_the_firmware_is_plain() {
        assert!(is_word("0 tryboot"));
        for wrong in ["", "0 try;boot", "a\nb", "ä"] {
            assert!(!is_word(wrong), "{wrong:?}");
        }
    }
}
