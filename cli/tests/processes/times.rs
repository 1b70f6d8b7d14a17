//! How long clients may take for what, with limits of one second, so that tests can wait for each.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http::{Client, request};
use crate::platform::{PROBE, Place, Platform};
use crate::{process, wait};

/// A platform with these limits for clients.
fn with(limits: &str) -> Platform {
    let gateway =
        format!(r#"gateway: {{ listen: {{ http: "127.0.0.1:0" }}, limits: {{ {limits} }} }}"#);
    Platform::start_in(Place::new(&format!("{gateway}{PROBE}")))
}

/// Waits until the gateway closes the connection. Returns how long that took.
fn until_hung_up(client: &mut Client) -> Duration {
    let begin = Instant::now();
    let hung_up = client.is_hung_up();
    let elapsed = begin.elapsed();
    assert!(hung_up, "after {elapsed:?}");
    elapsed
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over_and_a_busy_one_is_not() {
    let platform = with("idle_timeout: 1s");
    let mut idle = platform.connect();
    let mut busy = platform.connect();
    assert_eq!(idle.ask("GET /worker", &[], b"").status(), 200);
    // Longer than a connection may be idle.
    assert_eq!(busy.ask("GET /sleep?ms=2500", &[], b"").status(), 200);
    assert!(until_hung_up(&mut idle) < Duration::from_millis(500));
    assert!(until_hung_up(&mut busy) > Duration::from_millis(500));
}

#[test]
fn a_head_that_takes_too_long_is_hung_up_on() {
    let platform = with("header_timeout: 1s");
    let mut stream = TcpStream::connect(platform.http()).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nX: ").unwrap();
    let pause = Duration::from_millis(200);
    stream.set_read_timeout(Some(pause)).unwrap();
    wait::within(Duration::from_secs(5), "it is hung up on", || {
        // Sending a byte now and then does not extend the time.
        let sent = stream.write_all(b"a");
        let ended = matches!(stream.read(&mut [0]), Ok(0)) || sent.is_err();
        ended.then_some(())
    });
}

#[test]
fn a_body_in_drips_is_a_408_and_one_at_a_fair_pace_is_not() {
    let platform = with("stall_timeout: 1s");
    // A body that the gateway waits for, and one that it forwards as it arrives.
    for length in [1000, 100_000] {
        let mut client = platform.connect();
        let length = format!("Content-Length: {length}");
        client.send(request("POST /echo", &[&length], b""));
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1500) {
            // 100 bytes a second.
            let _ = client.try_send(b"0123456789");
            std::thread::sleep(Duration::from_millis(100));
        }
        client.answer("POST").problem(408, "limit");
    }
    let mut fair = platform.connect();
    fair.send(request("POST /echo", &["Content-Length: 2000"], b""));
    for _ in 0..20 {
        fair.send([b'a'; 100]);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fair.answer("POST").body, [b'a'; 2000]);
}

#[test]
fn a_client_that_takes_nothing_is_let_go_and_the_memory_comes_back() {
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" }, limits: { stall_timeout: 1s } }"#;
    let workers = "    scale: { min: 4, max: 4 }\n";
    let platform = Platform::start_in(Place::new(&format!("{gateway}{PROBE}{workers}")));
    let gateway = platform.gateway();
    assert_eq!(platform.get("/worker").status(), 200);
    let before = process::memory(gateway);
    let mut readers: Vec<Client> = (0..8).map(|_| platform.connect()).collect();
    for reader in &mut readers {
        reader.send(request("GET /stream?bytes=100000000", &[], b""));
    }
    std::thread::sleep(Duration::from_millis(500));
    let during = process::memory(gateway);
    assert!(during < before + (16 << 20), "{before} and then {during}");
    // The eight clients that read nothing are disconnected, and the four workers are free again.
    wait::within(Duration::from_secs(10), "somebody else is answered", || {
        let mut other = platform.connect();
        other.try_send(request("GET /worker", &[], b"")).ok()?;
        (other.try_head().ok()?.status == 200).then_some(())
    });
    drop(readers);
    wait::until("memory is as before", || {
        (process::memory(gateway) < before + (2 << 20)).then_some(())
    });
}

#[test]
fn who_is_refused_while_sending_still_hears_why() {
    let platform = with("body_bytes: 1MiB");
    let body = vec![b'a'; 8 << 20];
    let length = format!("Content-Length: {}", body.len());
    for _ in 0..5 {
        // The client sends everything before it reads anything, as simple clients do.
        let mut client = platform.connect();
        client.send(request("POST /echo", &[&length], b""));
        client.send(&body);
        let answer = client.answer("POST");
        answer.problem(413, "limit");
        // A client that reused this connection would lose its next request.
        assert_eq!(answer.header("connection"), Some("close"));

        let mut chunked = platform.connect();
        chunked.send(request("POST /echo", &["Transfer-Encoding: chunked"], b""));
        for chunk in body.chunks(64 << 10) {
            chunked.send_chunk(chunk).unwrap();
        }
        chunked.answer("POST").problem(413, "limit");

        let mut nowhere = platform.connect();
        nowhere.send(request("POST /echo?", &[&length, "Host: b/c"], b""));
        nowhere.send(&body);
        nowhere.answer("POST").problem(400, "gateway");
    }
}

#[test]
fn an_answer_that_comes_before_the_body_ends_leaves_a_connection_that_can_be_used_on() {
    let platform = with("body_bytes: 8MiB");
    let body = vec![b'a'; 4 << 20];
    let length = format!("Content-Length: {}", body.len());
    let mut client = platform.connect();
    for _ in 0..5 {
        // The handler does not read the body.
        client.send(request("POST /worker", &[&length], b""));
        assert_eq!(client.answer("POST").status(), 200);
        client.send(&body);
    }
    assert_eq!(client.ask("GET /worker", &[], b"").json()["count"], 6);
}

#[test]
fn who_does_not_stop_to_send_is_hung_up_on() {
    let platform = with("body_bytes: 1KiB, stall_timeout: 1s");
    let mut client = platform.connect();
    client.send(request("POST /echo", &["Content-Length: 1000000000"], b""));
    client.answer("POST").problem(413, "limit");
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = client.try_send([b'a'; 65536]) {
            break error;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "it still reads");
    };
    let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
}
