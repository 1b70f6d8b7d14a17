//! What MessagePack or JSON carry: heads of requests and responses, trailers, CONFIG and LOG.
//!
//! One type for both directions and both codecs: text is borrowed from the frame where the codec
//! allows it. Structures travel as maps with the field names below; unknown fields are skipped, so
//! that a later version may add some.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::msgpack::{Malformed, Wrong};
use crate::packed;

/// How heads are written. The worker chooses in HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// MessagePack, structures as maps.
    MessagePack,
    /// JSON (RFC 8259).
    Json,
}

/// Why a head could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// MessagePack could not be written.
    #[error("cannot encode a head as MessagePack")]
    EncodeMessagePack(#[source] rmp_serde::encode::Error),
    /// MessagePack could not be read.
    #[error("cannot decode a head from MessagePack")]
    DecodeMessagePack(#[source] rmp_serde::decode::Error),
    /// MessagePack is not that of the structure.
    #[error("cannot decode a head from MessagePack")]
    Malformed(#[source] Malformed),
    /// JSON could not be written or read.
    #[error("cannot convert a head to or from JSON")]
    Json(#[source] serde_json::Error),
    /// A head that does not fit into a frame.
    #[error("head and body of {len} bytes do not fit into one frame")]
    TooLong {
        /// Bytes it would take.
        len: usize,
    },
}

impl HeadError {
    /// The codec's own words, if it failed in the codec.
    pub fn source_text(&self) -> Option<String> {
        std::error::Error::source(self).map(ToString::to_string)
    }
}

impl Codec {
    /// Its number in HELLO.
    pub fn number(self) -> u8 {
        match self {
            Codec::MessagePack => 1,
            Codec::Json => 2,
        }
    }

    /// The codec with this number.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            1 => Some(Codec::MessagePack),
            2 => Some(Codec::Json),
            _ => None,
        }
    }

    /// Appends `value` to `out`. On failure, what was appended so far stays.
    pub fn encode<T: Serialize>(self, value: &T, out: &mut Vec<u8>) -> Result<(), HeadError> {
        match self {
            Codec::MessagePack => {
                let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
                value
                    .serialize(&mut serializer)
                    .map_err(HeadError::EncodeMessagePack)
            }
            Codec::Json => serde_json::to_writer(out, value).map_err(HeadError::Json),
        }
    }

    /// Reads one value that fills `bytes`.
    pub fn decode<'a, T: Deserialize<'a>>(self, bytes: &'a [u8]) -> Result<T, HeadError> {
        match self {
            Codec::MessagePack => {
                rmp_serde::from_slice(bytes).map_err(HeadError::DecodeMessagePack)
            }
            Codec::Json => serde_json::from_slice(bytes).map_err(HeadError::Json),
        }
    }
}

/// Text borrowed from a frame where the codec allows it (JSON escapes do not).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Text(text)
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name and value of a header field, a trailer or a path parameter.
pub type Pair<'a> = (Text<'a>, Text<'a>);

/// The head of a request as a worker gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead<'a> {
    /// The request's id, as in logs and in `x-request-id`.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// Upper case, as the client sent it.
    #[serde(borrow)]
    pub method: Text<'a>,
    /// As the client sent it, percent-encoded, without query.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// What follows `?`, percent-encoded; empty without one.
    #[serde(borrow, default)]
    pub query: Text<'a>,
    /// The pattern of the manifest that matched: `/items/{id}`.
    #[serde(borrow)]
    pub route: Text<'a>,
    /// The pattern's parameters in its order, percent-decoded.
    #[serde(borrow, default)]
    pub params: Vec<Pair<'a>>,
    /// `http` or `https`, as the client spoke.
    #[serde(borrow)]
    pub scheme: Text<'a>,
    /// Host of the request, lower case, without port.
    #[serde(borrow)]
    pub host: Text<'a>,
    /// The client's address and port.
    #[serde(borrow)]
    pub client: Text<'a>,
    /// Header fields in order, names in lower case, without those of the hop. A value that is not
    /// UTF-8 is read as Latin-1.
    #[serde(borrow, default)]
    pub headers: Vec<Pair<'a>>,
    /// Milliseconds that are left until the head of the response must have been seen.
    pub deadline_ms: u64,
    /// W3C `traceparent` of the request, if there is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Text<'a>>,
}

impl<'a> RequestHead<'a> {
    /// Reads one; as [`Codec::decode`], faster.
    pub fn decode(codec: Codec, bytes: &'a [u8]) -> Result<RequestHead<'a>, HeadError> {
        match codec {
            Codec::MessagePack => packed::request_head(bytes).map_err(HeadError::Malformed),
            Codec::Json => codec.decode(bytes),
        }
    }

    /// Appends it; the same bytes as [`Codec::encode`], faster.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), HeadError> {
        match codec {
            Codec::MessagePack => {
                packed::put_request_head(self, out);
                Ok(())
            }
            Codec::Json => codec.encode(self, out),
        }
    }
}

/// The head of a response as the gateway gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHead<'a> {
    /// 200 to 599; 1xx is not carried.
    pub status: u16,
    /// Header fields in order.
    #[serde(borrow, default)]
    pub headers: Vec<Pair<'a>>,
}

impl<'a> ResponseHead<'a> {
    /// Reads one; as [`Codec::decode`], faster.
    pub fn decode(codec: Codec, bytes: &'a [u8]) -> Result<ResponseHead<'a>, HeadError> {
        match codec {
            Codec::MessagePack => packed::response_head(bytes).map_err(HeadError::Malformed),
            Codec::Json => codec.decode(bytes),
        }
    }

    /// Appends the head of these fields; the same as [`Codec::encode`] of a `ResponseHead`, faster.
    pub fn encode<'h>(
        codec: Codec,
        status: u16,
        headers: impl ExactSizeIterator<Item = (&'h str, &'h str)>,
        out: &mut Vec<u8>,
    ) -> Result<(), HeadError> {
        match codec {
            Codec::MessagePack => {
                packed::put_response_head(status, headers, out);
                Ok(())
            }
            Codec::Json => {
                let headers = headers.map(|(name, value)| (name.into(), value.into()));
                let headers = headers.collect();
                codec.encode(&ResponseHead { status, headers }, out)
            }
        }
    }
}

/// What a worker is told before it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The version of the wire both speak from now on.
    pub version: u8,
    /// The function's name.
    pub function: String,
    /// The worker's id, unique while the platform runs.
    pub worker: u64,
    /// The generation of the manifest it belongs to.
    pub generation: u64,
    /// Handlers that may run at once.
    pub concurrency: u32,
    /// As in the manifest.
    #[serde(default)]
    pub resources: BTreeMap<String, serde_json::Value>,
    /// As in the manifest.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Values of secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The machine's trusted CA certificates, PEM, one each.
    #[serde(default)]
    pub ca_certificates: Vec<String>,
    /// Sizes both keep to.
    pub limits: Limits,
}

/// Sizes in bytes that both ends of a data socket keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Credit each direction of a stream starts with.
    pub credit: u32,
    /// Largest request body that the gateway lets through.
    pub body_bytes: u64,
}

impl Config {
    /// Reads one; as [`Codec::decode`], with less machine code.
    pub fn decode(codec: Codec, bytes: &[u8]) -> Result<Config, HeadError> {
        match codec {
            Codec::MessagePack => packed::config(bytes).map_err(HeadError::Malformed),
            Codec::Json => codec.decode(bytes),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            credit: crate::INITIAL_CREDIT,
            body_bytes: 10 * 1024 * 1024,
        }
    }
}

/// A log record of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord<'a> {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    #[serde(borrow)]
    pub level: Text<'a>,
    /// What happened.
    #[serde(borrow)]
    pub message: Text<'a>,
    /// The request it belongs to, if any.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Text<'a>>,
    /// Anything else worth searching for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
}

impl LogRecord<'_> {
    /// Appends it; the same bytes as [`Codec::encode`], with less machine code.
    pub fn encode(&self, codec: Codec, out: &mut Vec<u8>) -> Result<(), HeadError> {
        match codec {
            Codec::MessagePack => {
                packed::put_log_record(self, out);
                Ok(())
            }
            Codec::Json => codec.encode(self, out),
        }
    }
}
