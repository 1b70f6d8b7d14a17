//! The control API on its socket: real responses compared with the API's document, requests that are wrong, and
//! clients that are too many, too slow or not allowed.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::platform::{PROBE, Platform};
use crate::wait;

/// The number of clients that `supervisor/src/control.rs` serves at once.
const CLIENTS: usize = 64;

fn connect(platform: &Platform) -> UnixStream {
    let stream = UnixStream::connect(platform.place.state().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    stream
}

/// Sends these bytes and reads to the end. Returns status, content type and body.
fn send(platform: &Platform, bytes: &[u8]) -> (u16, String, String) {
    let mut stream = connect(platform);
    // The platform may refuse the request and close the connection before all of it is written.
    let _ = stream.write_all(bytes);
    answer(&mut stream)
}

fn answer(stream: &mut UnixStream) -> (u16, String, String) {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            // The connection is reset because the platform has not read all that was sent; its answer came before.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !all.is_empty() => break,
            Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&all)),
        }
    }
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    (
        status.unwrap_or_else(|| panic!("no status in {text:?}")),
        kind.unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

fn ask(platform: &Platform, line: &str) -> (u16, String, String) {
    let request = format!("{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    send(platform, request.as_bytes())
}

/// Fails unless `value` matches the schema `name` in the API's document.
pub(crate) fn assert_as_documented(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/control-api.yaml");
    let document: Value = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": document["components"],
        "$ref": format!("#/components/schemas/{name}"),
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:?} in {value}");
}

#[test]
fn real_answers_are_what_the_document_says() {
    let platform = Platform::start(PROBE);
    platform.get("/say?hello");
    let (status, kind, body) = ask(&platform, "GET /v1/status");
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_as_documented("Status", &told);
    assert_eq!(told["pid"], platform.supervisor());
    let worker = &told["functions"][0]["workers"][0];
    for field in ["rss_bytes", "pss_bytes", "cpu_seconds", "uptime_ms"] {
        assert!(worker[field].is_number(), "{field} in {worker}");
    }
    let (status, kind, body) = ask(&platform, "GET /v1/logs?lines=1000");
    assert_eq!((status, kind.as_str()), (200, "application/x-ndjson"));
    let lines = body.lines().filter(|line| line.starts_with('{'));
    let records: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(records.len() > 3, "{body}");
    for record in &records {
        assert_as_documented("LogLine", record);
    }
    let (status, _, body) = ask(&platform, "POST /v1/reload");
    assert_eq!(status, 200);
    let told = serde_json::from_str(&body).unwrap();
    assert_as_documented("Reloaded", &told);
    assert_eq!(told["functions"], 1);
    platform.place.write("functions: {}");
    let (status, kind, body) = ask(&platform, "POST /v1/reload");
    assert_eq!((status, kind.as_str()), (409, "application/problem+json"));
    let told = serde_json::from_str(&body).unwrap();
    assert_as_documented("Problem", &told);
    assert!(
        told["detail"].as_str().unwrap().contains("functions"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_with_a_request_is_a_problem_of_the_layer_control() {
    let platform = Platform::start(PROBE);
    for (line, expect) in [
        ("GET /v1/nothing", 404),
        ("GET /status", 404),
        ("PUT /v1/status", 405),
        ("GET /v1/status?verbose=1", 400),
        ("GET /v1/logs?lines=many", 400),
        ("GET /v1/logs?level=loud", 400),
        ("GET /v1/logs?since=yesterday", 400),
        ("GET /v1/logs?function=%FF", 400),
    ] {
        let (status, kind, body) = ask(&platform, line);
        assert_eq!(
            (status, kind.as_str()),
            (expect, "application/problem+json"),
            "{line}"
        );
        let problem = serde_json::from_str(&body).unwrap();
        assert_as_documented("Problem", &problem);
        assert_eq!(problem["status"], expect);
    }
    let body =
        "POST /v1/reload HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(send(&platform, body.as_bytes()).0, 413);
    // Hyper itself answers bytes that are not HTTP, or a head that is far too long, with a bare status.
    assert_eq!(send(&platform, b"{\"do\":\"status\"}\n\r\n\r\n").0, 400);
    let long = format!(
        "GET /v1/logs?function={} HTTP/1.1\r\nhost: h\r\n\r\n",
        "a".repeat(100_000)
    );
    assert!([414, 431].contains(&send(&platform, long.as_bytes()).0));
    assert_eq!(ask(&platform, "GET /v1/status").0, 200);
}

#[test]
fn one_connection_may_ask_again_and_again() {
    let platform = Platform::start(PROBE);
    let mut stream = connect(&platform);
    let twice = "GET /v1/nothing HTTP/1.1\r\nhost: h\r\n\r\n".to_owned()
        + "GET /v1/nothing HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    stream.write_all(twice.as_bytes()).unwrap();
    let (status, _, rest) = answer(&mut stream);
    assert_eq!(status, 404);
    assert_eq!(rest.matches("HTTP/1.1 404").count(), 1, "{rest}");
}

#[test]
fn too_many_clients_are_told_so_at_once_and_slow_heads_are_given_up() {
    let platform = Platform::start(PROBE);
    let begun = Instant::now();
    let mut slow: Vec<UnixStream> = (0..CLIENTS).map(|_| connect(&platform)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v1/sta").unwrap();
    }
    let (status, kind, body) = wait::until("one is one too many", || {
        let told = ask(&platform, "GET /v1/status");
        (told.0 == 503).then_some(told)
    });
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it waits for nobody"
    );
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"));
    assert_as_documented("Problem", &serde_json::from_str(&body).unwrap());
    // The gateway still serves requests, and the slow clients are disconnected after a timeout.
    assert_eq!(platform.get("/small").status(), 200);
    let mut rest = String::new();
    let _ = slow[0].read_to_string(&mut rest);
    assert!(begun.elapsed() >= Duration::from_secs(9), "{rest}");
    wait::until("a place is free", || {
        (ask(&platform, "GET /v1/status").0 == 200).then_some(())
    });
}

#[test]
fn a_follower_that_hangs_up_leaves_its_place() {
    let platform = Platform::start(PROBE);
    for _ in 0..CLIENTS + 10 {
        let mut stream = connect(&platform);
        let request = b"GET /v1/logs?follow=true&lines=1 HTTP/1.1\r\nhost: h\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut first = [0; 12];
        let read = stream.read_exact(&mut first);
        // While earlier connections are being closed, this one may be refused.
        if read.is_ok() && &first == b"HTTP/1.1 200" {
            stream.shutdown(Shutdown::Both).unwrap();
        }
    }
    wait::until("all places are free", || {
        let streams: Vec<UnixStream> = (0..CLIENTS - 1).map(|_| connect(&platform)).collect();
        let told = ask(&platform, "GET /v1/nothing").0;
        drop(streams);
        (told == 404).then_some(())
    });
}

#[test]
fn another_user_is_refused_even_where_the_files_let_him_through() {
    if !geteuid().is_root() {
        // Only root can become another user. A unit test in `control.rs` checks who may use the API.
        return;
    }
    let platform = Platform::start(PROBE);
    let socket = platform.place.state().join("control.sock");
    let as_nobody = || {
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--clear-groups",
                "curl",
                "-sS",
                "-m",
                "10",
            ])
            .arg("--unix-socket")
            .arg(&socket)
            .args(["-w", "%{http_code}", "http://h/v1/status"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(
        as_nobody().ends_with("000"),
        "the directory's mode lets him through"
    );
    for path in [
        platform.place.path(),
        &platform.place.hearth_directory(),
        &platform.place.state(),
    ] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let told = as_nobody();
    assert!(told.ends_with("403"), "{told}");
    assert!(
        told.contains("only root and the user who runs the platform"),
        "{told}"
    );
}
