//! Fuzzes the decoders of frames, messages and heads with arbitrary bytes in arbitrary pieces: they must not panic, and
//! a decoded message that is encoded must decode to the same message.

use std::fmt::Debug;

use hearth_protocol::control::Control;
use hearth_protocol::data::Data;
use hearth_protocol::frame::Frame;
use hearth_protocol::head::{Config, LogRecord, RequestHead, ResponseHead};
use hearth_protocol::{Codec, DATA_ROOM, FrameBuffer, MAX_DATA_LEN, dump};
use serde::Deserialize;

/// Decodes the bytes in pieces. The first byte is the size of a piece.
pub fn run(input: &[u8]) {
    let Some((&cut, bytes)) = input.split_first() else {
        return;
    };
    let mut buffer = FrameBuffer::new(MAX_DATA_LEN, DATA_ROOM);
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        buffer.room()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => look(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn look(frame: &Frame<'_>) {
    let _ = dump::line(frame);
    if let Ok(message) = Data::parse(frame) {
        let mut again = Vec::new();
        message.encode(&mut again);
        let (second, taken) = Frame::decode(&again, u32::MAX).unwrap().unwrap();
        assert_eq!(taken, again.len());
        assert_eq!(Data::parse(&second), Ok(message));
        if let Data::Request { head, .. } | Data::Response { head, .. } = message {
            same(head, |codec, bytes| RequestHead::decode(codec, bytes).ok());
            same(head, |codec, bytes| ResponseHead::decode(codec, bytes).ok());
        }
    }
    if let Ok(message) = Control::parse(frame) {
        let mut again = Vec::new();
        message.encode(&mut again);
        let (second, _) = Frame::decode(&again, u32::MAX).unwrap().unwrap();
        assert_eq!(Control::parse(&second), Ok(message));
        if let Control::Config { config } | Control::Log { record: config } = message {
            same(config, |codec, bytes| Config::decode(codec, bytes).ok());
            let _ = Codec::Json.decode::<LogRecord<'_>>(config);
            let _ = Codec::MessagePack.decode::<LogRecord<'_>>(config);
        }
    }
}

/// Checks that the general decoder gives the same value as the special decoder of a structure.
fn same<'a, T: Deserialize<'a> + PartialEq + Debug>(
    bytes: &'a [u8],
    read: impl Fn(Codec, &'a [u8]) -> Option<T>,
) {
    for codec in [Codec::MessagePack, Codec::Json] {
        if let Some(value) = read(codec, bytes) {
            assert_eq!(codec.decode(bytes).ok(), Some(value));
        }
    }
}
