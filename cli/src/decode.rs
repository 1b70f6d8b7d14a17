//! `hearth decode`: prints the captured bytes of one direction of a socket, one frame per line.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, bail};
use hearth_protocol::{CONTROL_ROOM, FrameBuffer, MAX_CONTROL_LEN, dump};

use crate::args::Decode;
use crate::out::{self, Outcome};

pub(crate) fn decode(args: &Decode) -> anyhow::Result<Outcome> {
    let mut input: Box<dyn Read> = match &args.file {
        Some(path) => {
            Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?)
        }
        None => Box::new(io::stdin()),
    };
    if args.hex {
        let mut text = String::new();
        input.read_to_string(&mut text).context("cannot read")?;
        input = Box::new(io::Cursor::new(from_hex(&text)?));
    }
    // A capture may be of a control socket or of a data socket; control sockets allow longer frames.
    let mut buffer = FrameBuffer::new(MAX_CONTROL_LEN, CONTROL_ROOM);
    let mut offset = 0;
    loop {
        let count = input.read(buffer.room()).context("cannot read")?;
        buffer.filled(count);
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => {
                    out::data(format_args!("{offset:>8} {}", dump::line(&frame)))?;
                    offset += frame.encoded_len();
                }
                Ok(None) => break,
                Err(error) => bail!("at byte {offset}: {error}"),
            }
        }
        if count == 0 {
            break;
        }
    }
    if !buffer.is_empty() {
        bail!("the stream ends in the middle of the frame at byte {offset}");
    }
    Ok(Outcome::Done)
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        bail!("an odd number of hexadecimal digits");
    }
    let pairs = digits.chunks_exact(2).map(|pair| {
        let byte: String = pair.iter().collect();
        u8::from_str_radix(&byte, 16).with_context(|| format!("{byte:?} is not hexadecimal"))
    });
    pairs.collect()
}
