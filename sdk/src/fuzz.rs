//! Fuzzes the reader of a data socket: no input from the gateway may cause a panic, and the output must consist of
//! complete, valid frames.

use std::time::Instant;

use hearth_protocol::data::{Data, ErrorCode};
use hearth_protocol::frame::Frame;
use hearth_protocol::head::{Limits, RequestHead};
use hearth_protocol::{Codec, DATA_ROOM, FrameBuffer, MAX_DATA_LEN};

use crate::body::Body;
use crate::request::Request;
use crate::slots::Slots;

/// Reads the bytes as the frames of one data socket. The stream number of each request selects what the handler does
/// with it.
///
/// # Panics
/// If the output is invalid, or a request differs from its head.
pub fn requests(bytes: &[u8]) {
    let mut slots = Slots::new(Limits::default());
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    let mut out = Vec::new();
    for piece in bytes.chunks(DATA_ROOM) {
        buffer.room()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let Ok(message) = Data::parse(&frame) else {
                return check(&out);
            };
            let Ok(incoming) = slots.receive(message, &mut out) else {
                return check(&out);
            };
            if let Some(incoming) = incoming {
                if let Ok(head) = RequestHead::decode(Codec::MessagePack, &incoming.head) {
                    let body = Body::whole(incoming.body);
                    let request = Request::from_head(&incoming.head, &head, body, Instant::now());
                    assert_eq!(request.method, *head.method);
                    assert_eq!(request.headers.iter().count(), head.headers.len());
                }
                handle(&mut slots, incoming.stream, &mut out);
            }
        }
    }
    check(&out);
}

fn handle(slots: &mut Slots, stream: u32, out: &mut Vec<u8>) {
    let _ = slots.read(stream, &mut [0; 100], out);
    match stream % 4 {
        0 => slots.goaway(&[stream], out),
        1 => slots.refuse(stream, ErrorCode::Internal, "it failed", out),
        2 => {
            let _ = slots.write(stream, &[0; 300_000], out);
            slots.finish(stream, out);
        }
        // The stream stays open.
        _ => {}
    }
}

fn check(mut out: &[u8]) {
    while !out.is_empty() {
        let decoded = Frame::decode(out, MAX_DATA_LEN).ok().flatten();
        let (frame, taken) = decoded.expect("a whole frame");
        assert!(Data::parse(&frame).is_ok(), "a good message");
        out = &out[taken..];
    }
}
