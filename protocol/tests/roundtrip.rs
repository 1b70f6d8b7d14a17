//! Properties of the codec. Encoded frames are decoded again, however the byte stream is split. Arbitrary bytes never
//! cause a panic and never make a reader use more memory than the limit allows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use hearth_protocol::control::Control;
use hearth_protocol::data::{CancelReason, Data, ErrorCode, Opcode, Slots};
use hearth_protocol::frame::{Extensions, Flags, Frame, Kind};
use hearth_protocol::{Codec, DATA_ROOM, FrameBuffer, MAX_DATA_LEN};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Parts {
    stream: u32,
    kind: u8,
    flags: u8,
    aux: u32,
    extensions: Vec<(u16, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Parts {
    fn extension_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in &self.extensions {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let extension = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..20));
    (
        any::<u32>(),
        any::<u8>(),
        any::<u8>(),
        any::<u32>(),
        prop::collection::vec(extension, 0..4),
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(stream, kind, flags, aux, extensions, payload)| Parts {
            stream,
            kind,
            flags,
            aux,
            extensions,
            payload,
        })
}

/// Encodes `frames` and feeds the bytes into a buffer in pieces of the lengths `cuts`. Returns the encoded bytes, and
/// the decoded frames encoded again.
fn through_buffer(frames: &[Parts], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut sent = Vec::new();
    for parts in frames {
        let extensions = parts.extension_bytes();
        Frame {
            stream: parts.stream,
            kind: Kind::from_number(parts.kind),
            flags: Flags(parts.flags),
            aux: parts.aux,
            extensions: Extensions::check(&extensions).unwrap(),
            payload: &parts.payload,
        }
        .encode(&mut sent);
    }
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    let mut received = Vec::new();
    let mut rest = &sent[..];
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let room = buffer.room();
        let count = cuts
            .next()
            .unwrap_or(1)
            .clamp(1, rest.len())
            .min(room.len());
        room[..count].copy_from_slice(&rest[..count]);
        buffer.filled(count);
        rest = &rest[count..];
        while let Some(frame) = buffer.next_frame().unwrap() {
            frame.encode(&mut received);
        }
    }
    assert!(buffer.is_empty(), "bytes were left over");
    (sent, received)
}

fn data_message() -> impl Strategy<Value = (u8, u32, Vec<u8>, Vec<u8>, bool, u32)> {
    (
        0u8..9,
        1u32..,
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(any::<u8>(), 0..64),
        any::<bool>(),
        1u32..,
    )
}

proptest! {
    #[test]
    fn frames_survive_any_split(frames in prop::collection::vec(parts(), 1..8),
                                cuts in prop::collection::vec(1usize..700, 1..10)) {
        let (sent, received) = through_buffer(&frames, &cuts);
        prop_assert_eq!(sent, received);
    }

    #[test]
    fn data_messages_survive((which, stream, a, b, flag, number) in data_message()) {
        let slots: Vec<u8> = a.iter().flat_map(|x| u32::from(*x).to_le_bytes()).collect();
        let reason = String::from_utf8_lossy(&a).into_owned();
        let message = match which {
            0 => Data::Request { stream, head: &a, body: &b, end: flag },
            1 => Data::Response { stream, head: &a, body: &b, end: flag },
            2 => Data::Data { stream, bytes: &b, end: flag },
            3 => Data::Trailers { stream, fields: &a },
            4 => Data::Window { stream, credit: number },
            5 => Data::Message { stream, opcode: Opcode::Binary, bytes: &b, end: flag },
            6 => Data::Cancel { stream, reason: CancelReason::from_number(number) },
            7 => Data::Error { stream, code: ErrorCode::from_number(number), retry_safe: flag, reason: &reason },
            _ => Data::Goaway { not_started: Slots::check(&slots).unwrap() },
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (frame, taken) = Frame::decode(&bytes, MAX_DATA_LEN).unwrap().unwrap();
        prop_assert_eq!(taken, bytes.len());
        prop_assert_eq!(Data::parse(&frame).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
        let room = buffer.room();
        room[..bytes.len()].copy_from_slice(&bytes);
        buffer.filled(bytes.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let _ = Data::parse(&frame);
            let _ = Control::parse(&frame);
            let _ = hearth_protocol::dump::line(&frame);
        }
    }

    #[test]
    fn arbitrary_heads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for codec in [Codec::MessagePack, Codec::Json] {
            let _ = codec.decode::<hearth_protocol::head::RequestHead<'_>>(&bytes);
            let _ = codec.decode::<hearth_protocol::head::ResponseHead<'_>>(&bytes);
            let _ = codec.decode::<hearth_protocol::head::Config>(&bytes);
            let _ = codec.decode::<hearth_protocol::head::LogRecord<'_>>(&bytes);
        }
    }
}

#[test]
fn a_giant_length_is_refused_before_memory_is_taken() {
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    let mut header = [0u8; 16];
    header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    buffer.room()[..16].copy_from_slice(&header);
    buffer.filled(16);
    let error = buffer.next_frame().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "frame of {} bytes after its header, at most {MAX_DATA_LEN} are allowed",
            u32::MAX
        )
    );
    assert!(buffer.room().len() <= MAX_DATA_LEN as usize + 16);
}

#[test]
fn a_frame_of_the_longest_length_arrives_in_small_reads() {
    let payload = vec![7; MAX_DATA_LEN as usize];
    let mut sent = Vec::new();
    Data::Data {
        stream: 1,
        bytes: &payload,
        end: true,
    }
    .encode(&mut sent);
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    for piece in sent.chunks(1000) {
        buffer.room()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
    }
    let frame = buffer.next_frame().unwrap().unwrap();
    assert_eq!(frame.payload, payload);
}
