//! Abuse of HTTP/2, with frames that are put together by hand (RFC 9113).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::platform::{PROBE, Place, Platform};
use crate::{process, wait};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const ENHANCE_YOUR_CALM: u32 = 11;

/// Memory in bytes that the gateway may take at most under each of these attacks.
const MODEST: u64 = 16 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: fields as HPACK literals that are never indexed (RFC 7541, section 6.2.3).
fn block(method: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ];
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_STREAM | END_HEADERS;
    frame(HEADERS, flags, stream, &block("GET", path))
}

struct Peer(TcpStream);

impl Peer {
    /// Connects and sends the client's connection preface with these settings.
    fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Peer {
        let mut stream = TcpStream::connect(address).unwrap();
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).unwrap();
        stream.set_write_timeout(timeout).unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &payload)).unwrap();
        Peer(stream)
    }

    /// Reads the next frame: kind, flags, stream and payload.
    fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        Ok((head[3], head[4], stream, payload))
    }

    /// Reads until the gateway closes the connection. Returns the error code of its GOAWAY frame, or `None` if it
    /// sent none.
    fn dismissed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Ok((kind, _, _, payload)) = self.next() {
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// Sends the same bytes repeatedly from a separate thread, until the gateway closes the connection or the time is
    /// over. Meanwhile, other requests must be answered. Discards what the gateway sends. Returns whether the gateway
    /// closed the connection.
    fn flood(mut self, platform: &Platform, bytes: &[u8]) -> bool {
        const LENGTH: Duration = Duration::from_secs(2);
        let before = process::memory(platform.gateway());
        let mut reader = self.0.try_clone().unwrap();
        let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()).is_ok());
        let row = bytes.repeat(65536 / bytes.len() + 1);
        let writing = std::thread::spawn(move || {
            let begin = Instant::now();
            while begin.elapsed() < LENGTH {
                if self.0.write_all(&row).is_err() {
                    return true;
                }
            }
            let _ = self.0.shutdown(std::net::Shutdown::Both);
            false
        });
        let mut most = 0;
        while !writing.is_finished() {
            let asked = Instant::now();
            assert_eq!(platform.get("/worker").status(), 200);
            let took = asked.elapsed();
            assert!(took < Duration::from_secs(1), "held up for {took:?}");
            most = most.max(process::memory(platform.gateway()));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(most < before + MODEST, "{before} and then {most}");
        reading.join().unwrap();
        writing.join().unwrap()
    }
}

/// Sends a request and waits for its response, which shows that the gateway serves this connection.
fn is_served(peer: &mut Peer) {
    peer.0.write_all(&get(1, "/worker")).unwrap();
    loop {
        let (kind, _, stream, _) = peer.next().unwrap();
        if (kind, stream) == (HEADERS, 1) {
            return;
        }
    }
}

#[test]
fn requests_that_are_reset_at_once_end_in_enhance_your_calm() {
    let platform = Platform::start(PROBE);
    let mut peer = Peer::connect(platform.http(), &[]);
    is_served(&mut peer);
    // Rapid reset (CVE-2023-44487).
    let begin = Instant::now();
    let mut stream = 3;
    loop {
        let mut both = get(stream, "/sleep?ms=100");
        both.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        if peer.0.write_all(&both).is_err() {
            break;
        }
        stream += 2;
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{stream} streams"
        );
    }
    // If the kernel has reset the connection by now, the GOAWAY frame is lost.
    assert!(matches!(peer.dismissed(), None | Some(ENHANCE_YOUR_CALM)));
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn a_head_without_end_is_refused_soon() {
    let platform = Platform::start(PROBE);
    let gateway = platform.gateway();
    let before = process::memory(gateway);
    let mut peer = Peer::connect(platform.http(), &[]);
    is_served(&mut peer);
    let head = block("GET", "/x");
    let first = frame(HEADERS, END_STREAM, 3, &head);
    peer.0.write_all(&first).unwrap();
    // Fields `a: a`, without end.
    let field = [0x10, 1, b'a', 1, b'a'].repeat(1000);
    let more = frame(CONTINUATION, 0, 3, &field);
    let sent = (0..10_000).take_while(|_| peer.0.write_all(&more).is_ok());
    let sent = sent.count();
    assert!(sent < 10_000, "it took {sent} frames");
    assert!(process::memory(gateway) < before + MODEST);
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn floods_of_tiny_frames_hold_up_nobody_and_cost_no_memory() {
    let platform = Platform::start(&format!("{PROBE}    scale: {{ min: 2, max: 2 }}\n"));
    // For floods of frames of a stream: a stream whose request is under way and occupies a worker.
    let post = frame(HEADERS, END_HEADERS, 3, &block("POST", "/echo"));
    let floods = [
        (frame(PING, 0, 0, &[0; 8]), false),
        (frame(SETTINGS, 0, 0, &[]), false),
        (frame(DATA, 0, 3, &[]), true),
        (frame(WINDOW_UPDATE, 0, 3, &1u32.to_be_bytes()), false),
        (frame(0x77, 0, 0, &[]), false),
    ];
    for (bytes, expect) in floods {
        let mut peer = Peer::connect(platform.http(), &[]);
        is_served(&mut peer);
        peer.0.write_all(&post).unwrap();
        let hung_up_on = peer.flood(&platform, &bytes);
        assert_eq!(hung_up_on, expect, "{bytes:?}");
    }
}

#[test]
fn who_opens_no_window_is_a_slow_reader() {
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" }, limits: { stall_timeout: 1s } }"#;
    let platform = Platform::start_in(Place::new(&format!("{gateway}{PROBE}")));
    let before = process::memory(platform.gateway());
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let mut peer = Peer::connect(platform.http(), &[(4, 0)]);
    for stream in 0..50 {
        let request = get(stream * 2 + 1, "/stream?bytes=10000000");
        peer.0.write_all(&request).unwrap();
    }
    let begin = Instant::now();
    peer.dismissed();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(process::memory(platform.gateway()) < before + MODEST);
    wait::within(Duration::from_secs(5), "somebody else is answered", || {
        (platform.get("/worker").status() == 200).then_some(())
    });
}

#[test]
fn an_idle_connection_is_told_to_go_away() {
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" }, limits: { idle_timeout: 1s } }"#;
    let platform = Platform::start_in(Place::new(&format!("{gateway}{PROBE}")));
    let mut peer = Peer::connect(platform.http(), &[]);
    is_served(&mut peer);
    assert_eq!(peer.dismissed(), Some(0));
}
