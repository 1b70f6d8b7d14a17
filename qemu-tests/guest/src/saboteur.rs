//! Makes things fail inside an appliance under test: runs as root next to the platform and takes orders over TCP. No
//! shipped image contains it.
//!
//! It is installed as `/bin/hearth`, and the real program is at [`REAL`]. When started as `hearth up`, it leaves a
//! copy of itself behind that listens for orders; then it executes the real program. A connection carries one order:
//! a line of words separated by tabs. The response is text until the connection is closed.
//!
//! | order | effect |
//! |---|---|
//! | `run PROGRAM ARGS...` | runs the program, sends its output, then `exit STATUS` |
//! | `signal NUMBER TEXT` | sends a signal to each process whose command line contains the text; sends their ids |
//! | `read PATH` | sends a file |
//! | `write PATH TEXT` | writes a file |
//! | `loosen` | makes the root file system writable, and lets programs in `/tmp` and `/var/tmp` be executed |

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The path of the real `hearth`.
const REAL: &str = "/bin/hearth-itself";

/// The TCP port for orders.
const PORT: u16 = 7777;

/// The saboteur's own control group, so that it survives what init does to the supervisor's group.
const GROUP: &str = "/sys/fs/cgroup/saboteur";

/// The argument that makes this process the listener.
const LISTEN: &str = "listen-for-orders";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some(LISTEN) => listen(),
        _ => become_the_real_one(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = fs::write("/dev/kmsg", format!("saboteur: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn become_the_real_one(words: &[String]) -> anyhow::Result<()> {
    if words.first().is_some_and(|verb| verb == "up") {
        let own = std::env::current_exe().context("where am I?")?;
        let mut listening = Command::new(own);
        listening.arg(LISTEN).stdin(Stdio::null());
        let child = listening.spawn().context("cannot stay behind")?;
        // This must happen before the real program checks its group for other processes.
        take_to(GROUP, child.id())?;
    }
    Err(Command::new(REAL).args(words).exec()).context(REAL)
}

fn listen() -> anyhow::Result<()> {
    // After a restart of the supervisor, the first listener still runs.
    let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)) else {
        return Ok(());
    };
    for client in listener.incoming() {
        let client = client.context("accept")?;
        std::thread::spawn(move || {
            let mut answer = &client;
            if let Err(error) = obey(&client) {
                let _ = writeln!(answer, "error {error:#}");
            }
        });
    }
    Ok(())
}

/// Moves a process to a leaf of a group that passes its controllers on.
fn take_to(group: &str, pid: u32) -> anyhow::Result<()> {
    let own = Path::new(group).join("own");
    fs::create_dir_all(&own).context("a group")?;
    fs::write(own.join("cgroup.procs"), pid.to_string()).context("moving to it")?;
    let controllers = fs::read_to_string(Path::new(group).join("cgroup.controllers"))?;
    let wanted: Vec<String> = controllers
        .split_whitespace()
        .map(|one| format!("+{one}"))
        .collect();
    fs::write(
        Path::new(group).join("cgroup.subtree_control"),
        wanted.join(" "),
    )
    .context("its controllers")
}

fn obey(client: &TcpStream) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line)?;
    let words: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
    let mut answer = client;
    match words[..] {
        ["run", program, ref args @ ..] => {
            let output = client.try_clone()?;
            let status = Command::new(program)
                .args(args)
                .env("PATH", "/bin")
                .env("HEARTH_PROGRAMS", "/bin/tests")
                .env("TMPDIR", "/tmp")
                .stdin(Stdio::null())
                .stdout(std::os::fd::OwnedFd::from(output.try_clone()?))
                .stderr(std::os::fd::OwnedFd::from(output))
                .status()
                .with_context(|| format!("cannot run {program}"))?;
            writeln!(answer, "exit {}", status.code().unwrap_or(-1))?;
        }
        ["signal", number, text] => {
            let signal = Signal::try_from(number.parse::<i32>()?)?;
            let found = processes(text)?;
            ensure!(!found.is_empty(), "no process has `{text}`");
            for pid in found {
                kill(Pid::from_raw(pid), signal)?;
                writeln!(answer, "{pid}")?;
            }
        }
        ["read", path] => answer.write_all(&fs::read(path).context(path.to_owned())?)?,
        ["loosen"] => loosen()?,
        ["write", path, text] => fs::write(path, text).context(path.to_owned())?,
        _ => bail!("unknown order: {words:?}"),
    }
    Ok(())
}

/// For tests that create directories and run programs in them.
fn loosen() -> anyhow::Result<()> {
    let again =
        |at: &str, flags: MsFlags| mount(None::<&str>, at, None::<&str>, flags, None::<&str>);
    again("/", MsFlags::MS_REMOUNT).context("the root file system")?;
    again("/", MsFlags::MS_REMOUNT | MsFlags::MS_BIND).context("the root's mount")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    again("/tmp", MsFlags::MS_REMOUNT | MsFlags::MS_BIND | safe).context("/tmp")?;
    fs::create_dir_all("/var/tmp").context("/var/tmp")
}

/// Returns the other processes whose command lines contain this text. Arguments are separated by spaces.
fn processes(text: &str) -> anyhow::Result<Vec<i32>> {
    let own = i32::try_from(std::process::id())?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if pid != own && words.contains(text) {
            found.push(pid);
        }
    }
    Ok(found)
}
