//! The test vectors in `protocol/vectors/`, which any implementation can be tested with.
//!
//! `UPDATE_GOLDEN=1 cargo test -p hearth-protocol` writes them again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::path::Path;

use hearth_protocol::control::Control;
use hearth_protocol::data::{CancelReason, Data, ErrorCode, Opcode, encode_goaway};
use hearth_protocol::frame::{Extensions, Flags, Frame, Kind};
use hearth_protocol::head::{Config, LogRecord, RequestHead, ResponseHead};
use hearth_protocol::{Codec, MAX_DATA_LEN, dump};

fn head(codec: Codec) -> Vec<u8> {
    let request = RequestHead {
        id: "5f1d9c3e-1".into(),
        method: "GET".into(),
        path: "/items/a%20b".into(),
        query: "full=1".into(),
        route: "/items/{id}".into(),
        params: vec![("id".into(), "a b".into())],
        scheme: "http".into(),
        host: "api.example.com".into(),
        client: "127.0.0.1:50000".into(),
        headers: vec![("accept".into(), "*/*".into())],
        deadline_ms: 10_000,
        trace: None,
    };
    let mut bytes = Vec::new();
    codec.encode(&request, &mut bytes).unwrap();
    bytes
}

fn response(codec: Codec) -> Vec<u8> {
    let response = ResponseHead {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
    };
    let mut bytes = Vec::new();
    codec.encode(&response, &mut bytes).unwrap();
    bytes
}

fn data(message: Data<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn control(message: Control<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Name and bytes of every well-formed vector.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let mut config = Vec::new();
    let value = Config {
        version: 1,
        function: "items".into(),
        worker: 3,
        generation: 1,
        concurrency: 1,
        resources: [("redis".to_owned(), "redis://127.0.0.1:6379".into())].into(),
        env: [("LOG_LEVEL".to_owned(), "info".to_owned())].into(),
        ..Config::default()
    };
    Codec::Json.encode(&value, &mut config).unwrap();
    let mut log = Vec::new();
    let record = LogRecord {
        level: "info".into(),
        message: "hello".into(),
        ..LogRecord::default()
    };
    Codec::Json.encode(&record, &mut log).unwrap();
    let mut goaway = Vec::new();
    encode_goaway(&mut goaway, [2, 3]);
    let mut extended = Vec::new();
    Frame {
        stream: 1,
        kind: Kind::Data,
        flags: Flags::END_STREAM,
        aux: 0,
        extensions: Extensions::check(&[0x01, 0x00, 0x02, 0x00, 0xaa, 0xbb]).unwrap(),
        payload: b"x",
    }
    .encode(&mut extended);
    let (json, pack) = (head(Codec::Json), head(Codec::MessagePack));
    let (json_response, pack_response) = (response(Codec::Json), response(Codec::MessagePack));
    vec![
        (
            "hello-json",
            control(Control::Hello {
                lowest: 1,
                highest: 1,
                codec: Codec::Json,
            }),
        ),
        (
            "hello-messagepack",
            control(Control::Hello {
                lowest: 1,
                highest: 1,
                codec: Codec::MessagePack,
            }),
        ),
        ("config-json", control(Control::Config { config: &config })),
        ("ready", control(Control::Ready)),
        (
            "start-failed",
            control(Control::StartFailed {
                message: "no database",
            }),
        ),
        ("attach", control(Control::Attach { thread: 0 })),
        ("log-json", control(Control::Log { record: &log })),
        ("ping", control(Control::Ping { nonce: 7 })),
        ("pong", control(Control::Pong { nonce: 7 })),
        ("drain", control(Control::Drain { deadline_ms: 5000 })),
        ("stop", control(Control::Stop { deadline_ms: 2000 })),
        ("resolve", control(Control::Resolve { host: "db.example" })),
        (
            "resolved",
            control(Control::Resolved {
                found: true,
                text: "192.0.2.7\n2001:db8::7",
            }),
        ),
        (
            "resolved, but not found",
            control(Control::Resolved {
                found: false,
                text: "no such host",
            }),
        ),
        (
            "request-json",
            data(Data::Request {
                stream: 1,
                head: &json,
                body: b"",
                end: true,
            }),
        ),
        (
            "request-messagepack-body",
            data(Data::Request {
                stream: 2,
                head: &pack,
                body: b"{\"a\":1}",
                end: true,
            }),
        ),
        (
            "response-json",
            data(Data::Response {
                stream: 1,
                head: &json_response,
                body: b"hi",
                end: true,
            }),
        ),
        (
            "response-messagepack-open",
            data(Data::Response {
                stream: 2,
                head: &pack_response,
                body: b"",
                end: false,
            }),
        ),
        (
            "data",
            data(Data::Data {
                stream: 2,
                bytes: b"some bytes",
                end: false,
            }),
        ),
        (
            "data-end",
            data(Data::Data {
                stream: 2,
                bytes: b"",
                end: true,
            }),
        ),
        ("data-with-optional-extension", extended),
        (
            "trailers-json",
            data(Data::Trailers {
                stream: 2,
                fields: b"[[\"x-sum\",\"1\"]]",
            }),
        ),
        (
            "window",
            data(Data::Window {
                stream: 2,
                credit: 65536,
            }),
        ),
        (
            "message-text",
            data(Data::Message {
                stream: 4,
                opcode: Opcode::Text,
                bytes: b"hi",
                end: false,
            }),
        ),
        (
            "cancel",
            data(Data::Cancel {
                stream: 2,
                reason: CancelReason::ClientGone,
            }),
        ),
        (
            "error-retry-safe",
            data(Data::Error {
                stream: 2,
                code: ErrorCode::Refused,
                retry_safe: true,
                reason: "stopping",
            }),
        ),
        ("goaway", goaway),
        (
            "unknown-kind-slot-0",
            data(Data::Unknown {
                stream: 0,
                kind: 200,
            }),
        ),
    ]
}

fn raw(len: u32, kind: u8, ext_len: u16, stream: u32, aux: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&stream.to_le_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&ext_len.to_le_bytes());
    bytes.extend_from_slice(&aux.to_le_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

/// Name and bytes of frames that must be refused.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("len-beyond-limit", raw(MAX_DATA_LEN + 1, 34, 0, 1, 0, b"")),
        ("extensions-beyond-frame", raw(2, 34, 4, 1, 0, b"xx")),
        ("extension-cut-off", raw(4, 34, 4, 1, 0, &[1, 0, 9, 0])),
        (
            "extension-critical-unknown",
            raw(4, 34, 4, 1, 0, &[1, 0x80, 0, 0]),
        ),
        ("request-on-slot-0", raw(0, 32, 0, 0, 0, b"")),
        ("head-longer-than-payload", raw(2, 32, 0, 1, 3, b"xx")),
        ("window-of-nothing", raw(0, 36, 0, 1, 0, b"")),
        ("message-opcode-unknown", raw(0, 37, 0, 1, 5, b"")),
        ("error-reason-not-utf8", raw(1, 39, 0, 1, 1, b"\xff")),
        ("goaway-ragged", raw(3, 40, 0, 0, 0, b"xxx")),
        ("hello-on-data-socket", raw(0, 1, 0, 0, 0, b"")),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The expected result as the vector file contains it: the frame as text, or why it is refused.
fn outcome(name: &str, bytes: &[u8]) -> String {
    let frame = match Frame::decode(bytes, MAX_DATA_LEN) {
        Ok(Some((frame, taken))) => {
            assert_eq!(taken, bytes.len(), "{name}: bytes left over");
            frame
        }
        Ok(None) => panic!("{name}: cut off"),
        Err(error) => return format!("refused: {error}"),
    };
    let is_control = frame.kind.number() < 32 && frame.kind != Kind::Hello;
    let parsed = if is_control || (frame.kind == Kind::Hello && !frame.payload.is_empty()) {
        Control::parse(&frame).map(|message| {
            let mut again = Vec::new();
            message.encode(&mut again);
            again
        })
    } else {
        Data::parse(&frame).map(|message| {
            let mut again = Vec::new();
            message.encode(&mut again);
            again
        })
    };
    match parsed {
        Ok(again) => {
            if frame.extensions.iter().next().is_none() {
                assert_eq!(again, bytes, "{name}: written again it differs");
            }
            dump::line(&frame)
        }
        Err(error) => format!("refused: {error}"),
    }
}

fn check(file: &str, vectors: &[(&str, Vec<u8>)]) {
    let mut text = String::new();
    for (name, bytes) in vectors {
        let _ = writeln!(text, "{name}\n  {}\n  {}", hex(bytes), outcome(name, bytes));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        stored,
        text,
        "{} differs; UPDATE_GOLDEN=1 writes it anew",
        path.display()
    );
}

#[test]
fn good_vectors_hold() {
    let vectors = good();
    for kind in Kind::ALL.iter().filter(|kind| kind.number() < 64) {
        assert!(
            vectors.iter().any(|(_, bytes)| bytes[8] == kind.number()),
            "no vector for {}",
            kind.name()
        );
    }
    check("good.txt", &vectors);
}

#[test]
fn bad_vectors_are_refused_with_their_reason() {
    let vectors = bad();
    for (name, bytes) in &vectors {
        assert!(
            outcome(name, bytes).starts_with("refused: "),
            "{name} was accepted"
        );
    }
    check("bad.txt", &vectors);
}
