//! Frames as text, one line each, for `hearth decode` and for test failures.

use std::fmt::Write;

use crate::frame::{Flags, Frame, Kind};

/// Maximum number of payload bytes that are shown.
const SHOWN: usize = 120;

/// Formats `frame` as one line: kind, stream, flags, aux, extensions, and the payload as far as it is readable.
pub fn line(frame: &Frame<'_>) -> String {
    let mut line = format!("{} stream={}", frame.kind.name(), frame.stream);
    if let Kind::Unknown(number) = frame.kind {
        let _ = write!(line, " kind={number}");
    }
    if frame.flags.contains(Flags::END_STREAM) {
        line.push_str(" END_STREAM");
    }
    if frame.flags.contains(Flags::RETRY_SAFE) {
        line.push_str(" RETRY_SAFE");
    }
    if frame.aux != 0 {
        let _ = write!(line, " aux={}", frame.aux);
    }
    for ext in frame.extensions.iter() {
        let _ = write!(line, " ext[{:#06x}]={}B", ext.kind, ext.value.len());
    }
    match frame.kind {
        Kind::Request | Kind::Response => {
            let head_len = (frame.aux as usize).min(frame.payload.len());
            let (head, body) = frame.payload.split_at(head_len);
            let _ = write!(line, " head={} body={}", structured(head), plain(body));
        }
        Kind::Config | Kind::Log | Kind::Trailers => {
            let _ = write!(line, " {}", structured(frame.payload));
        }
        _ if frame.payload.is_empty() => {}
        _ => {
            let _ = write!(line, " {}", plain(frame.payload));
        }
    }
    line
}

/// Formats a head as JSON, whatever its codec.
fn structured(bytes: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(bytes)
        .ok()
        .or_else(|| rmp_serde::from_slice(bytes).ok());
    match value {
        Some(value) => value.to_string(),
        None => plain(bytes),
    }
}

fn plain(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { "..." } else { "" };
    format!("{}B\"{}{more}\"", bytes.len(), shown.escape_ascii())
}
