//! A stand-in for the platform in tests of the appliance's init. It reports that it is ready and healthy, unless
//! `platform=ORDER` on the kernel's command line orders it to crash, to hang or to request a restart.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A file that records that this program has already crashed.
const CRASHED: &str = "/tmp/crashed";

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let mut words = command_line.split_ascii_whitespace();
    let order = words.find_map(|word| word.strip_prefix("platform="));
    let order = order.unwrap_or("serve");
    let mut args = std::env::args();
    if args.next_back().as_deref() == Some("--left-behind") {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let socket = UnixDatagram::unbound()?;
    let path = std::env::var("NOTIFY_SOCKET").context("no NOTIFY_SOCKET")?;
    socket
        .connect(&path)
        .with_context(|| format!("cannot reach {path}"))?;
    let within = std::env::var("WATCHDOG_USEC").context("no WATCHDOG_USEC")?;
    let within = Duration::from_micros(within.parse()?);
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let record = fs::read_to_string("/run/hearth/boot.json")?;
    say(&format!("lives in {}", groups.trim()));
    say(&format!("reads {}", record.trim()));
    match order {
        "die" => return Ok(3),
        "never-ready" => loop {
            std::thread::sleep(within);
        },
        _ => {}
    }
    if order == "crash" {
        // Init must not let this child outlive the stand-in.
        Command::new("/bin/hearth").arg("--left-behind").spawn()?;
    }
    socket.send(b"READY=1\nSTATUS=a stand-in serves\n")?;
    let mut turns = 0;
    loop {
        match order {
            "crash" if !Path::new(CRASHED).exists() => {
                fs::write(CRASHED, "")?;
                say("crashes now");
                std::process::abort();
            }
            "crash" => say(&format!("lives again; left behind: {}", left_behind()?)),
            "hang" => say("hangs now"),
            "restart" if turns == 1 => kill(Pid::from_raw(1), Signal::SIGTERM)?,
            "off" if turns == 1 => kill(Pid::from_raw(1), Signal::SIGUSR2)?,
            "reset" if turns == 1 => {
                fs::write("/data/system/factory-reset", "")?;
                fs::write("/data/hearth/kept", "kept\n")?;
                kill(Pid::from_raw(1), Signal::SIGTERM)?;
            }
            "keep" if turns == 1 => {
                say(&format!(
                    "kept: {}",
                    Path::new("/data/hearth/kept").exists()
                ));
                fs::write("/data/hearth/kept", "kept\n")?;
                kill(Pid::from_raw(1), Signal::SIGTERM)?;
            }
            "panic" if turns == 1 => fs::write("/proc/sysrq-trigger", "c")?,
            _ => {}
        }
        if order == "hang" {
            loop {
                std::thread::sleep(within);
            }
        }
        socket.send(b"WATCHDOG=1\n")?;
        turns += 1;
        std::thread::sleep(if turns < 3 {
            Duration::from_secs(1)
        } else {
            within / 2
        });
    }
}

/// Returns how many processes of the crashed run still exist, not counting this run's own.
fn left_behind() -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let place = entry?.path().join("cmdline");
        // A process that has ended meanwhile was not left behind.
        let words = fs::read(place).unwrap_or_default();
        count += usize::from(words.ends_with(b"--left-behind\0"));
    }
    Ok(count.saturating_sub(1))
}

/// Writes to the kernel's log with a level that always reaches the console.
fn say(text: &str) {
    // There is no other way to report the error.
    let _ = fs::write("/dev/kmsg", format!("<3>platform: {text}\n"));
}
