//! Start and end of the gateway, of the supervisor and of the whole platform.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::http::request;
use crate::platform::{PROBE, Place, Platform};
use crate::process;
use crate::wait;

#[test]
fn a_killed_gateway_is_back_on_its_port_and_workers_keep_their_state() {
    let platform = Platform::start(PROBE);
    let before = platform.get("/worker").json();
    let gateway = platform.gateway();
    process::signal(gateway, Signal::SIGKILL);
    process::wait_until_gone(&[gateway], wait::LIMIT);
    // The port was never closed: the next gateway serves clients that connect now.
    let after = platform.get("/worker").json();
    assert_eq!(after["worker"], before["worker"]);
    assert_eq!(
        after["count"].as_u64(),
        before["count"].as_u64().map(|count| count + 1)
    );
    assert_ne!(platform.gateway(), gateway);
}

#[test]
fn a_gateway_killed_in_the_middle_of_requests_leaves_their_worker_usable() {
    let platform = Platform::start(PROBE);
    let before = platform.worker_number("probe");
    let mut download = platform.connect();
    download.send(request("GET /stream?bytes=1000000000000", &[], b""));
    assert_eq!(download.head().status, 200);
    process::signal(platform.gateway(), Signal::SIGKILL);
    wait::until("the download breaks off", || {
        download.chunk().is_err().then_some(())
    });
    assert_eq!(platform.get("/worker").json()["worker"], before);
}

#[test]
fn with_the_supervisor_dies_everything_and_the_next_start_replaces_what_it_left() {
    let platform = Platform::start(PROBE);
    let mut started = process::children(platform.supervisor());
    started.sort_unstable();
    let mut known = [
        platform.gateway(),
        platform.worker("probe"),
        zygote(&platform),
    ];
    known.sort_unstable();
    assert_eq!(started, known);
    let (status, place) = platform.end(Signal::SIGKILL);
    assert_eq!(status.code(), None);
    process::wait_until_gone(&started, Duration::from_secs(2));
    let left = [
        place.state().join("control.sock"),
        place.state().join("lock"),
    ];
    assert!(left.iter().all(|path| path.exists()));
    let platform = Platform::start_in(place);
    assert_eq!(platform.get("/worker").json()["count"], 1);
}

/// The zygote: the child of the supervisor that is neither its gateway nor a worker.
fn zygote(platform: &Platform) -> u32 {
    let others = [platform.gateway(), platform.worker("probe")];
    let children = process::children(platform.supervisor());
    let mut rest = children.into_iter().filter(|pid| !others.contains(pid));
    let zygote = rest.next().expect("something makes cells");
    assert_eq!(rest.next(), None);
    zygote
}

#[test]
fn what_makes_cells_is_replaced_when_it_dies_or_hangs() {
    let platform = Platform::start(PROBE);
    let before = zygote(&platform);
    let mut served = platform.get("/worker").json()["worker"].clone();
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let zygote = zygote(&platform);
        process::signal(zygote, signal);
        process::signal(platform.worker("probe"), Signal::SIGKILL);
        // The supervisor waits for a zygote that hangs, then gives it up. The next start of the worker uses another
        // one.
        served = wait::until("another worker serves", || {
            let answer = platform.get("/worker");
            let next = (answer.head.status == 200).then(|| answer.json()["worker"].clone());
            next.filter(|next| *next != served)
        });
    }
    assert_ne!(zygote(&platform), before);
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn told_to_stop_it_ends_with_status_0_and_leaves_no_process_and_only_its_log_and_versions() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let platform = Platform::start(PROBE);
        let started = process::children(platform.supervisor());
        let address = platform.http();
        assert_eq!(started.len(), 3);
        assert!(platform.place.state().join("control.sock").exists());
        let (status, place) = platform.end(signal);
        assert_eq!(status.code(), Some(0));
        assert!(started.iter().all(|pid| !process::runs(*pid)));
        // Only the log, which the next start continues, and the versions for rollbacks are left.
        assert_eq!(entries(&place.state()), ["log", "versions"]);
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn of_a_platform_with_https_the_certificate_stays_too() {
    let manifest = format!(r#"gateway: {{ listen: {{ https: "127.0.0.1:0" }} }}{PROBE}"#);
    let platform = Platform::start_in(Place::new(&manifest));
    let (status, place) = platform.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
    // The `.gitignore` keeps the certificate's key out of repositories.
    let left = entries(&place.hearth_directory());
    assert_eq!(left, [".gitignore", "edge.yaml"]);
    assert_eq!(entries(&place.state()), ["log", "tls", "versions"]);
    let kept = ["self-signed.crt", "self-signed.json", "self-signed.key"];
    assert_eq!(entries(&place.state().join("tls")), kept);
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request("GET /drip?pieces=8", &[], b""));
    let head = client.head();
    let mut body = client.chunk().unwrap().unwrap();
    platform.signal(Signal::SIGTERM);
    body.extend(client.body(&head).unwrap());
    assert_eq!(String::from_utf8(body).unwrap().lines().count(), 8);
    let (status, _place) = platform.end(Signal::SIGCONT);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let platform = Platform::start(PROBE);
    let mut idle = platform.connect();
    assert_eq!(idle.ask("GET /small", &[], b"").status(), 200);
    let _silent = platform.connect();
    let begin = Instant::now();
    let (status, _place) = platform.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    assert!(idle.is_hung_up());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut platform = Platform::start(PROBE);
    let mut reader = platform.connect();
    reader.send(request("GET /stream?bytes=1000000000000", &[], b""));
    assert_eq!(reader.head().status, 200);
    let begin = Instant::now();
    platform.signal(Signal::SIGTERM);
    wait::until("it says that it stops", || {
        let mut printed = platform.printed().into_iter();
        printed.find(|record| record["message"].as_str().unwrap().contains("stopping"))
    });
    platform.signal(Signal::SIGINT);
    assert_eq!(platform.wait_end().code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_second_platform_of_the_same_manifest_is_refused_and_told_who_holds_it() {
    let platform = Platform::start(PROBE);
    let refused = platform.place.up_to_its_end();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    let holder = format!("process {}", platform.supervisor());
    assert!(said.contains(&holder), "{said}");
    assert_eq!(platform.get("/small").text(), "small");
}

#[test]
fn a_port_that_somebody_has_is_a_reason_to_refuse_and_is_named() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = somebody.local_addr().unwrap();
    let place = Place::new(&format!(
        "gateway: {{ listen: {{ http: \"{address}\" }} }}{PROBE}"
    ));
    let refused = place.up_to_its_end();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(!place.hearth_directory().exists());
}

#[test]
fn a_function_without_its_program_is_refused_before_anything_is_started() {
    let place = Place::new(&PROBE.replace("binary: probe", "binary: not/there"));
    let refused = place.up_to_its_end();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("functions.probe.binary"), "{said}");
    assert!(said.contains("not/there does not exist"), "{said}");
}
