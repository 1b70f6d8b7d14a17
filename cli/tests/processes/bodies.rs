//! Bodies of requests and responses: whole and in pieces, at every limit, with clients that are slow or disconnect.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;

use crate::http::{Client, request};
use crate::platform::{PROBE, Place, Platform};
use crate::process;

/// Bytes in which each block of 64 KiB differs from the others.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

fn with_limits(limits: &str) -> Platform {
    let gateway =
        format!(r#"gateway: {{ listen: {{ http: "127.0.0.1:0" }}, limits: {{ {limits} }} }}"#);
    Platform::start_in(Place::new(&format!("{gateway}\n{PROBE}")))
}

#[test]
fn json_goes_both_ways() {
    let platform = Platform::start(PROBE);
    let order = json!({ "customer": "Žofie", "lines": [{ "item": 1, "count": 2 }, { "item": 2, "count": 3 }] });
    let headers = ["Content-Type: application/json"];
    let answer = platform.ask("POST /json", &headers, order.to_string().as_bytes());
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), json!({ "order": order, "pieces": 5 }));
}

#[test]
fn bad_json_is_400_and_names_the_field_and_the_position() {
    let platform = Platform::start(PROBE);
    let body = br#"{"customer":"a","lines":[{"item":1,"count":"two"}]}"#;
    let answer = platform.ask("POST /json", &[], body);
    assert_eq!(answer.status(), 400);
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["field"], "lines[0].count");
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(1), &json!(48))
    );
    assert_eq!(platform.ask("POST /json", &[], b"{").json()["line"], 1);
}

#[test]
fn bodies_of_every_size_come_back_as_they_went() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    const KIB: usize = 1024;
    for length in [
        0,
        1,
        64 * KIB - 1,
        64 * KIB,
        64 * KIB + 1,
        KIB * KIB,
        9 * KIB * KIB,
    ] {
        let body = pattern(length);
        for route in ["echo", "pipe"] {
            let answer = client.ask(&format!("POST /{route}"), &[], &body);
            assert_eq!(answer.status(), 200);
            assert!(answer.body == body, "{length} bytes through {route}");
        }
        let counted = client.ask("POST /count", &[], &body);
        assert_eq!(counted.text(), length.to_string());
    }
}

#[test]
fn chunked_bodies_come_back_as_they_went() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    let body = pattern(300_000);
    for piece in [1000, 65_536, 300_000] {
        client.send(request("POST /echo", &["Transfer-Encoding: chunked"], b""));
        for chunk in body.chunks(piece) {
            client.send_chunk(chunk).unwrap();
        }
        client.send_chunk(b"").unwrap();
        assert!(client.answer("POST").body == body, "in pieces of {piece}");
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it_where_its_body_is_wanted() {
    let platform = with_limits("body_bytes: 1KiB");
    let mut client = platform.connect();
    client.send(request(
        "POST /echo",
        &["Expect: 100-continue", "Content-Length: 4"],
        b"",
    ));
    assert_eq!(client.head().status, 100);
    client.send(b"body");
    assert_eq!(client.answer("POST").text(), "body");

    let too_much = ["Expect: 100-continue", "Content-Length: 1025"];
    client.send(request("POST /echo", &too_much, b""));
    client.answer("POST").problem(413, "limit");
}

#[test]
fn a_body_above_the_limit_is_413_and_one_at_the_limit_is_served() {
    let platform = with_limits("body_bytes: 1MiB");
    let at_the_limit = pattern(1 << 20);
    let served = platform.ask("POST /count", &[], &at_the_limit);
    assert_eq!(served.text(), "1048576");

    // The response comes at once, before any of the body is sent.
    let mut client = platform.connect();
    client.send(request("POST /count", &["Content-Length: 1048577"], b""));
    client.answer("POST").problem(413, "limit");
}

/// Sends chunks until 2 MiB are sent or the gateway closes the connection.
fn upload_too_much(client: &mut Client, line: &str) {
    client.send(request(line, &["Transfer-Encoding: chunked"], b""));
    let piece = pattern(64 * 1024);
    for _ in 0..32 {
        if client.send_chunk(&piece).is_err() {
            return;
        }
    }
    let _ = client.send_chunk(b"");
}

#[test]
fn a_chunked_body_above_the_limit_is_413_and_its_worker_serves_on() {
    let platform = with_limits("body_bytes: 1MiB");
    let before = platform.get("/worker").json()["worker"].clone();
    for route in ["/echo", "/count"] {
        let mut client = platform.connect();
        upload_too_much(&mut client, &format!("POST {route}"));
        client.answer("POST").problem(413, "limit");
        assert_eq!(
            platform.get("/worker").json()["worker"],
            before,
            "after {route}"
        );
    }
}

#[test]
fn a_chunked_body_above_the_limit_harms_nobody_where_the_function_does_not_read_it() {
    // Less than the worker's credit, so that the body exceeds the limit before the worker reads any of it.
    let platform = with_limits("body_bytes: 32KiB");
    let worker = platform.worker("probe");
    let mut client = platform.connect();
    let chunked = ["Transfer-Encoding: chunked"];
    client.send(request("POST /sleep?ms=300", &chunked, b""));
    client.send_chunk(b"some").unwrap();
    process::wait_until_it_sleeps(worker);
    client.send_chunk(&pattern(64 * 1024)).unwrap();
    client.answer("POST").problem(413, "limit");
    // The worker does not know of the refusal yet and answers. The gateway discards the answer, which does not
    // violate the protocol.
    let after = platform.get("/worker");
    assert_eq!(after.status(), 200, "{}", after.text());
    assert_eq!(after.json()["worker"], platform.worker_number("probe"));
}

#[test]
fn an_answer_given_before_the_body_has_come_leaves_the_worker_free() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request(
        "POST /small",
        &["Content-Length: 1000000"],
        b"begin",
    ));
    assert_eq!(client.answer("POST").text(), "small");
    assert_eq!(platform.get("/small").text(), "small");
}

#[test]
fn a_head_above_the_limit_is_431_and_one_below_is_served() {
    let platform = with_limits("header_bytes: 16KiB");
    let with_field = |length: usize| {
        let field = format!("X-Long: {}", "h".repeat(length));
        platform.ask("GET /x", &[&field], b"")
    };
    assert_eq!(with_field(15 * 1024).status(), 200);
    with_field(17 * 1024).problem(431, "limit");
    // A head of this length is not read to its end.
    assert_eq!(with_field(500 * 1024).status(), 431);
    let long = format!("/{}", "p".repeat(17 * 1024));
    platform.get(&long).problem(431, "limit");
}

#[test]
fn a_function_answers_while_the_body_is_still_being_sent() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request("POST /pipe", &["Transfer-Encoding: chunked"], b""));
    let mut head = None;
    for piece in ["first", "second", "third"] {
        client.send_chunk(piece.as_bytes()).unwrap();
        if head.is_none() {
            head = Some(client.head());
        }
        assert_eq!(client.chunk().unwrap().as_deref(), Some(piece.as_bytes()));
    }
    client.send_chunk(b"").unwrap();
    assert_eq!(client.chunk().unwrap(), None);
    assert_eq!(head.unwrap().status, 200);
}

#[test]
fn a_streamed_answer_arrives_piece_by_piece() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request("GET /drip?pieces=3", &[], b""));
    let head = client.head();
    // Each piece is flushed 100 ms before the next, so it arrives as a separate chunk.
    let pieces: Vec<String> = std::iter::from_fn(|| client.chunk().unwrap())
        .map(|piece| String::from_utf8(piece).unwrap())
        .collect();
    assert_eq!(pieces, ["piece 0\n", "piece 1\n", "piece 2\n"]);
    assert_eq!(head.header("content-length"), None);
}

#[test]
fn a_stream_that_panics_breaks_the_answer_off_and_its_worker_serves_on() {
    let platform = Platform::start(PROBE);
    let before = platform.worker_number("probe");
    let mut client = platform.connect();
    client.send(request("GET /panic-stream", &[], b""));
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"so far so good");
    let broken = client.chunk().unwrap_err();
    let expected = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(expected.contains(&broken.kind()), "{broken}");
    let id = head.header("x-request-id").unwrap();
    platform.wait_for_record("the access log says that it broke off", |record| {
        record["request"] == id && record["fields"]["broken"].is_string()
    });
    assert_eq!(platform.get("/worker").json()["worker"], before);
}

#[test]
fn what_a_stream_sent_before_it_failed_reaches_the_client() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send(request("GET /fail-stream", &[], b""));
    let head = client.try_head().map(|head| head.status);
    assert_eq!(head.ok(), Some(200));
    assert_eq!(client.chunk().unwrap().unwrap(), b"so far so good");
    assert!(client.chunk().is_err());
}

const SLOW_AND_OTHER: &str = r#"
functions:
  slow:
    routes: [{ path: /stream }, { path: /worker }]
    binary: probe
    scale: { min: 2 }
  other: { routes: [{ path: /small }, { path: /echo }], binary: probe }
"#;

/// A client that requests a long stream and reads only its beginning.
fn slow_reader(platform: &Platform) -> Client {
    let mut client = platform.connect();
    client.send(request("GET /stream?bytes=200000000", &[], b""));
    assert_eq!(client.head().status, 200);
    client.chunk().unwrap().unwrap();
    client
}

#[test]
fn a_slow_reader_fills_no_memory_and_holds_up_nobody_else() {
    let platform = Platform::start(SLOW_AND_OTHER);
    let status = platform.status();
    let slow = platform.function("slow")["workers"].clone();
    let mut pids: Vec<u32> = slow
        .as_array()
        .unwrap()
        .iter()
        .map(crate::platform::pid)
        .collect();
    pids.push(crate::platform::pid(&status["gateway"]));
    for _ in 0..50 {
        assert_eq!(platform.get("/small").status(), 200);
    }
    let before: Vec<u64> = pids.iter().map(|pid| process::memory(*pid)).collect();

    let client = slow_reader(&platform);
    let mut other = platform.connect();
    let body = pattern(100_000);
    for _ in 0..100 {
        assert!(other.ask("POST /echo", &[], &body).body == body);
        assert_eq!(other.ask("GET /worker", &[], b"").status(), 200);
    }
    for (pid, before) in pids.iter().zip(before) {
        let grown = process::memory(*pid).saturating_sub(before);
        assert!(grown < 16 << 20, "process {pid} grew by {grown} bytes");
    }
    client.hang_up();
}

#[test]
fn a_slow_reader_at_one_worker_holds_up_no_request_while_another_worker_is_free() {
    let platform = Platform::start(SLOW_AND_OTHER);
    // Both workers show that they are fast.
    let ask = |count: usize| {
        let mut client = platform.connect();
        for _ in 0..count {
            let answer = client.ask("GET /worker", &[], b"");
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(50));
        }
    });
    let client = slow_reader(&platform);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ask(50));
        }
    });
    client.hang_up();
}

#[test]
fn a_reader_that_pauses_gets_the_rest_when_it_reads_on() {
    let platform = Platform::start(SLOW_AND_OTHER);
    let mut client = platform.connect();
    client.send(request("GET /stream?bytes=20000000", &[], b""));
    let head = client.head();
    for _ in 0..100 {
        assert_eq!(platform.get("/small").status(), 200);
    }
    assert_eq!(client.body(&head).unwrap().len(), 20_000_000);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_answer_frees_the_worker() {
    let platform = Platform::start(PROBE);
    let before = platform.worker_number("probe");
    let mut client = platform.connect();
    client.send(request("GET /stream?bytes=1000000000000", &[], b""));
    let head = client.head();
    client.chunk().unwrap().unwrap();
    client.hang_up();
    assert_eq!(platform.get("/worker").json()["worker"], before);
    let id = head.header("x-request-id").unwrap();
    platform.wait_for_record("the access log has it", |record| record["request"] == id);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_body_frees_the_worker() {
    let platform = Platform::start(PROBE);
    let before = platform.worker_number("probe");
    for route in ["/count", "/echo", "/pipe"] {
        let mut client = platform.connect();
        let line = format!("POST {route}");
        client.send(request(
            &line,
            &["Content-Length: 1000000"],
            &pattern(300_000),
        ));
        client.hang_up();
        assert_eq!(platform.get("/worker").json()["worker"], before);
    }
}

#[test]
fn a_small_body_that_does_not_come_holds_no_worker() {
    let platform = Platform::start(PROBE);
    let mut slow = platform.connect();
    slow.send(request("POST /echo", &["Content-Length: 8"], b"half"));
    assert_eq!(platform.get("/worker").status(), 200);
    slow.send(b" all");
    assert_eq!(slow.answer("POST").text(), "half all");
}

#[test]
fn an_upload_that_goes_on_is_given_more_time_than_the_timeout() {
    let functions = r#"
functions:
  f: { routes: [{ path: /count }, { path: /drip }], binary: probe, timeout: 400ms }
"#;
    let platform = Platform::start(functions);
    let mut client = platform.connect();
    client.send(request("POST /count", &["Transfer-Encoding: chunked"], b""));
    for _ in 0..12 {
        client.send_chunk(b"0123456789").unwrap();
        // This is the pace of the client, not a wait for an event.
        std::thread::sleep(Duration::from_millis(100));
    }
    client.send_chunk(b"").unwrap();
    let answer = client.answer("POST");
    assert_eq!((answer.status(), answer.text()), (200, "120"));
    // A response that has begun may take longer than the timeout.
    assert_eq!(platform.get("/drip?pieces=8").text().lines().count(), 8);
}
