//! Any bytes, in any pieces, as frames, messages and heads: nothing may panic, and what was read and
//! is written again must read the same.

use hearth_protocol::control::Control;
use hearth_protocol::data::Data;
use hearth_protocol::frame::Frame;
use hearth_protocol::head::{Config, LogRecord, RequestHead, ResponseHead};
use hearth_protocol::{Codec, DATA_ROOM, FrameBuffer, MAX_DATA_LEN, dump};

/// Reads the bytes, cut by the first of them into pieces.
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
            for codec in [Codec::MessagePack, Codec::Json] {
                let _ = codec.decode::<RequestHead<'_>>(head);
                let _ = codec.decode::<ResponseHead<'_>>(head);
            }
        }
    }
    if let Ok(message) = Control::parse(frame) {
        let mut again = Vec::new();
        message.encode(&mut again);
        let (second, _) = Frame::decode(&again, u32::MAX).unwrap().unwrap();
        assert_eq!(Control::parse(&second), Ok(message));
        if let Control::Config { config } | Control::Log { record: config } = message {
            for codec in [Codec::MessagePack, Codec::Json] {
                let _ = codec.decode::<Config>(config);
                let _ = codec.decode::<LogRecord<'_>>(config);
            }
        }
    }
}
