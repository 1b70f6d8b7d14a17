//! The part of the catalogue in `docs/limits.md` that is about requests: what a client may send, and what it then
//! gets. The bytes are sent exactly as they are written here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::platform::{PROBE, Place, Platform};
use crate::process;

/// The state of the connection after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The client can send another request.
    Open,
    /// The gateway has closed it.
    Closed,
}
use Then::{Closed, Open};

/// The bytes to send, the expected status, and the expected state of the connection. A response with status 200 comes
/// from the function.
const REQUESTS: &[(&str, u16, Then)] = &[
    // The length of a body must be unambiguous. Two fields with the same length count as one.
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        200,
        Open,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabcd",
        400,
        Closed,
    ),
    // Chunks.
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
        400,
        Closed,
    ),
    (
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        400,
        Closed,
    ),
    // Line ends.
    ("GET /x HTTP/1.1\nHost: a\n\n", 200, Open),
    ("GET /x HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, Closed),
    (
        "GET /x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        400,
        Closed,
    ),
    ("\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, Open),
    // NUL.
    ("GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET /x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, Closed),
    ("GET /x%00y HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    // Targets.
    (
        "GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
        200,
        Open,
    ),
    (
        "GET ftp://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Open,
    ),
    ("GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    (
        "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
        400,
        Open,
    ),
    ("GET b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    ("GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    ("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 200, Open),
    ("GET /a%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400, Open),
    // Methods.
    ("BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", 200, Open),
    ("G@T /x HTTP/1.1\r\nHost: a\r\n\r\n", 400, Closed),
    // Host.
    ("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, Open),
    ("GET /x HTTP/1.1\r\n\r\n", 400, Open),
    ("GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, Open),
    ("GET /x HTTP/1.1\r\nHost : a\r\n\r\n", 400, Closed),
    // Bytes that are not an HTTP/1 request.
    ("GET /x HTTP/3.0\r\nHost: a\r\n\r\n", 400, Closed),
    ("GET /x\r\n\r\n", 400, Closed),
    (
        "\u{16}\u{3}\u{1} a client of TLS at the plain port",
        400,
        Closed,
    ),
];

/// Sends all bytes, and reads until the gateway closes the connection or sends nothing for a while.
fn exchange(platform: &Platform, bytes: &[u8]) -> (String, Then) {
    let mut stream = TcpStream::connect(platform.http()).unwrap();
    stream.write_all(bytes).unwrap();
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> (String, Then) {
    // Only a connection that stays open takes this long.
    stream
        .set_read_timeout(Some(Duration::from_millis(400)))
        .unwrap();
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    let then = loop {
        match stream.read(&mut room) {
            Ok(0) => break Closed,
            Ok(count) => answer.extend_from_slice(&room[..count]),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => break Open,
                ErrorKind::ConnectionReset => break Closed,
                _ => panic!("reading the answer: {error}"),
            },
        }
    };
    (String::from_utf8_lossy(&answer).into_owned(), then)
}

fn status(answer: &str) -> u16 {
    let number = answer.split(' ').nth(1);
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

#[test]
fn every_malformed_request_has_its_answer() {
    let platform = Platform::start(PROBE);
    for (bytes, expect, then) in REQUESTS {
        let (answer, after) = exchange(&platform, bytes.as_bytes());
        assert_eq!(
            (status(&answer), after),
            (*expect, *then),
            "{bytes:?}: {answer}"
        );
    }
    assert_eq!(
        platform.get("/worker").json()["worker"],
        platform.worker_number("probe")
    );
}

#[test]
fn with_both_lengths_chunks_count_and_what_follows_is_never_read_as_a_request() {
    let platform = Platform::start(PROBE);
    let both = ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"];
    for fields in [both.concat(), [both[1], both[0]].concat()] {
        let smuggling = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\nGET /worker HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let (answer, then) = exchange(&platform, smuggling.as_bytes());
        assert_eq!((status(&answer), then), (200, Closed), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    // After a body with only one length, the same bytes are a request.
    let honest = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /worker HTTP/1.1\r\nHost: a\r\n\r\n";
    let (answer, _) = exchange(&platform, honest.as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[test]
fn what_is_oversized_is_refused_in_its_own_way() {
    let platform = Platform::start(PROBE);
    let long = |len: usize| "a".repeat(len);
    let fields: String = (0..101).map(|n| format!("X-{n}: a\r\n")).collect();
    let cases = [
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(70_000)),
            414,
        ),
        (
            format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(40_000)),
            431,
        ),
        (
            format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(200_000)),
            431,
        ),
        (format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10485761\r\n\r\n".to_owned(),
            413,
        ),
    ];
    for (bytes, expect) in cases {
        let mut stream = TcpStream::connect(platform.http()).unwrap();
        // The gateway may answer and close the connection before all is sent.
        let _ = stream.write_all(bytes.as_bytes());
        let (answer, _) = read_all(&mut stream);
        assert_eq!(status(&answer), expect, "{}", &bytes[..60]);
    }
}

#[test]
fn a_client_that_closes_its_sending_side_has_gone_but_for_an_answer_that_is_ready_soon() {
    let platform = Platform::start(PROBE);
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(platform.http()).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert_eq!(status(&ask("/worker")), 200);
    assert_eq!(ask("/sleep?ms=1500"), "");
}

#[test]
fn ten_thousand_idle_connections_hold_up_nobody() {
    const COUNT: usize = 10_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(most > COUNT as u64 + 100, "this needs more descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" }, limits: { connections: 10100 } }"#;
    let platform = Platform::start_in(Place::new(&format!("{gateway}{PROBE}")));
    let gateway = platform.gateway();
    assert_eq!(platform.get("/worker").status(), 200);
    let before = process::memory(gateway);
    let mut idle: Vec<TcpStream> = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(platform.http()).unwrap();
        let request = b"GET /worker HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut room = [0; 12];
        stream.read_exact(&mut room).unwrap();
        assert_eq!(&room, b"HTTP/1.1 200");
        idle.push(stream);
    }
    let asked = Instant::now();
    assert_eq!(platform.get("/worker").status(), 200);
    assert!(asked.elapsed() < Duration::from_secs(1));
    let most = process::memory(gateway);
    assert!(
        most > before + (COUNT * 8192) as u64,
        "{before}, then {most}"
    );
    drop(idle);
    let mut now = most;
    let begin = Instant::now();
    while now > before + before / 5 {
        let waited = begin.elapsed();
        assert!(waited < Duration::from_secs(20), "{before}, {most}, {now}");
        std::thread::sleep(Duration::from_millis(100));
        now = process::memory(gateway);
    }
}
