//! Statistics of requests and processes in the status, and `hearth top`, which shows them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc;

use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http::request;
use crate::platform::{PROBE, Platform, pid};
use crate::process;
use crate::wait;

/// Waits until the function's part of the status satisfies `fits`, and returns it.
fn function(platform: &Platform, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || {
        Some(platform.function("probe")).filter(|function| fits(function))
    })
}

#[test]
fn requests_are_counted_for_their_function_and_worker_and_latencies_told() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    for _ in 0..200 {
        assert_eq!(client.ask("GET /small", &[], b"").status(), 200);
    }
    // More than one in a hundred requests is slow, so the 99th percentile is high.
    for _ in 0..6 {
        client.ask("GET /sleep?ms=150", &[], b"");
    }
    let told = function(&platform, "all are counted", |one| one["requests"] == 206);
    let worker = &told["workers"][0];
    assert_eq!(worker["requests"], 206);
    for one in [&told, worker] {
        let (p50, p99) = (one["p50_ms"].as_f64(), one["p99_ms"].as_f64());
        assert!(p50.is_some_and(|ms| ms > 0.0 && ms < 100.0), "{told}");
        assert!(p99.is_some_and(|ms| (110.0..400.0).contains(&ms)), "{told}");
    }
}

#[test]
fn what_is_with_a_worker_and_what_waits_is_told_and_over_when_it_is_over() {
    let platform = Platform::start(PROBE);
    let mut clients: Vec<_> = (0..3).map(|_| platform.connect()).collect();
    for client in &mut clients {
        client.send(request("GET /sleep?ms=4000", &[], b""));
    }
    let told = function(&platform, "one is served and two wait", |one| {
        one["in_flight"] == 1 && one["waiting"] == 2
    });
    assert_eq!(told["workers"][0]["in_flight"], 1);
    assert!(platform.status()["connections"].as_u64().unwrap() >= 3);
    drop(clients);
    function(&platform, "nobody waits", |one| {
        one["in_flight"] == 0 && one["waiting"] == 0
    });
    wait::until("no connection is open", || {
        (platform.status()["connections"] == 0).then_some(())
    });
}

#[test]
fn totals_outlive_the_gateway() {
    let platform = Platform::start(PROBE);
    platform.get("/small");
    function(&platform, "it is counted", |one| one["requests"] == 1);
    let gateway = platform.gateway();
    process::signal(gateway, Signal::SIGKILL);
    process::wait_until_gone(&[gateway], wait::LIMIT);
    platform.get("/small");
    function(&platform, "both are counted", |one| one["requests"] == 2);
}

#[test]
fn a_busy_worker_shows_its_share_of_the_processor() {
    let platform = Platform::start(PROBE);
    // The worker sends without end to a client that reads everything.
    let mut client = TcpStream::connect(platform.http()).unwrap();
    let ask = request("GET /stream?bytes=1000000000000", &[], b"");
    client.write_all(&ask).unwrap();
    std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
    let busy = wait::until("the busy one shows", || {
        let one = platform.function("probe")["workers"][0].clone();
        let share = one["cpu_share"].as_f64()?;
        let seconds = one["cpu_seconds"].as_f64()?;
        // Most of the time goes to the gateway and the client of a debug build.
        (share > 0.1 && seconds > 0.05).then_some(one)
    });
    assert!(busy["uptime_ms"].as_u64().unwrap() > 50, "{busy}");
    let share = platform.status()["cpu_share"].as_f64().unwrap();
    assert!(share < 0.9, "the supervisor has nothing to do: {share}");
}

#[test]
fn top_prints_one_frame_where_there_is_no_terminal() {
    let platform = Platform::start(PROBE);
    let output = platform.place.hearth("top", &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("test (generation 1) on http://"), "{text}");
    for name in ["supervisor", "gateway", "probe", "  worker 1"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn top_goes_on_on_a_terminal_and_leaves_it_as_it_was() {
    let platform = Platform::start(PROBE);
    let terminal = openpty(None, None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut top = platform.place.command("top", &["--sort", "requests"]);
    let mut top = top
        .stdin(end(&terminal.slave))
        .stdout(end(&terminal.slave))
        .stderr(end(&terminal.slave))
        .spawn()
        .unwrap();
    drop(terminal.slave);
    let (sender, heard) = mpsc::channel();
    let mut screen = File::from(terminal.master);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            match screen.read(&mut piece) {
                // Reading ends with an error once no process has the other side open (pty(7)).
                Ok(0) | Err(_) => return,
                Ok(count) => drop(sender.send(piece[..count].to_vec())),
            }
        }
    });
    let mut shown = String::new();
    let mut see = |what: &str, count: usize| {
        while shown.matches(what).count() < count {
            let piece = heard.recv_timeout(wait::LIMIT);
            let piece = piece.unwrap_or_else(|_| panic!("no {what:?} in {shown:?}"));
            shown.push_str(&String::from_utf8_lossy(&piece));
        }
        shown.clone()
    };
    see("  worker 1", 3);
    let before = see("requests per second", 2);
    assert!(before.contains("\x1b[?1049h"), "{before:?}");
    assert!(!before.contains("\x1b[?1049l"), "{before:?}");
    process::signal(top.id(), Signal::SIGINT);
    let after = see("\x1b[?1049l", 1);
    assert!(after.ends_with("\x1b[?7h\x1b[?25h\x1b[?1049l"), "{after:?}");
    assert!(top.wait().unwrap().success());
}

#[test]
fn top_of_a_platform_that_ends_says_so_on_the_first_screen() {
    let platform = Platform::start(PROBE);
    let terminal = openpty(None, None).unwrap();
    // Only `top` has the terminal's other side open, so the output ends when `top` does.
    let mut command = platform.place.command("top", &[]);
    command.stdout(terminal.slave).stderr(Stdio::piped());
    let mut top = command.spawn().unwrap();
    drop(command);
    let mut screen = File::from(terminal.master);
    let mut first = [0; 8];
    screen.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"\x1b[?1049h");
    let gateway = pid(&platform.status()["gateway"]);
    let (_, _place) = platform.end(Signal::SIGTERM);
    process::wait_until_gone(&[gateway], wait::LIMIT);
    let status = wait::until("it ends", || top.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    top.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("platform"), "{said}");
    let mut shown = Vec::new();
    match screen.read_to_end(&mut shown) {
        Ok(_) => {}
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock),
    }
    assert!(shown.ends_with(b"\x1b[?1049l"), "{}", shown.escape_ascii());
}
