//! The structures that are encoded as MessagePack or JSON: heads of requests and responses, trailers, CONFIG and LOG.
//!
//! Each structure has one type for both directions and both codecs. Text is borrowed from the frame where the codec
//! allows it. Structures are encoded as maps with the field names below. Unknown fields are skipped, so that a later
//! version may add fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::msgpack::{Malformed, Wrong};

/// The codec of heads. The worker chooses it in HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// MessagePack, structures as maps.
    MessagePack,
    /// JSON (RFC 8259).
    Json,
}

/// Why a head could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// MessagePack could not be encoded.
    #[error("cannot encode a head as MessagePack")]
    EncodeMessagePack(#[source] rmp_serde::encode::Error),
    /// MessagePack could not be decoded.
    #[error("cannot decode a head from MessagePack")]
    DecodeMessagePack(#[source] rmp_serde::decode::Error),
    /// The MessagePack does not match the structure.
    #[error("cannot decode a head from MessagePack")]
    Malformed(#[source] Malformed),
    /// JSON could not be encoded or decoded.
    #[error("cannot convert a head to or from JSON")]
    Json(#[source] serde_json::Error),
    /// The head and the body do not fit into one frame.
    #[error("head and body of {len} bytes do not fit into one frame")]
    TooLong {
        /// Length of the head and the body in bytes.
        len: usize,
    },
}

impl HeadError {
    /// The message of the codec's error, if the codec failed.
    pub fn source_text(&self) -> Option<String> {
        std::error::Error::source(self).map(ToString::to_string)
    }
}

impl Codec {
    /// The codec's number in HELLO.
    pub fn number(self) -> u8 {
        match self {
            Codec::MessagePack => 1,
            Codec::Json => 2,
        }
    }

    /// Converts a codec's number in HELLO.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            1 => Some(Codec::MessagePack),
            2 => Some(Codec::Json),
            _ => None,
        }
    }

    /// Appends `value` to `out`. After an error, `out` may contain a part of the encoded value.
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

    /// Decodes one value that occupies all of `bytes`.
    pub fn decode<'a, T: Deserialize<'a>>(self, bytes: &'a [u8]) -> Result<T, HeadError> {
        match self {
            Codec::MessagePack => {
                rmp_serde::from_slice(bytes).map_err(HeadError::DecodeMessagePack)
            }
            Codec::Json => serde_json::from_slice(bytes).map_err(HeadError::Json),
        }
    }
}

/// Text that is borrowed from the frame where the codec allows it. JSON text with escapes is owned.
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

/// The head of a request, as a worker receives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead<'a> {
    /// The request's id, as in the logs and in `x-request-id`.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// As the client sent it. Standard methods are in upper case.
    #[serde(borrow)]
    pub method: Text<'a>,
    /// As the client sent it, percent-encoded, without the query.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// The part after `?`, percent-encoded. Empty if the request has no query.
    #[serde(borrow, default)]
    pub query: Text<'a>,
    /// The manifest's pattern that matched: `/items/{id}`.
    #[serde(borrow)]
    pub route: Text<'a>,
    /// The parameters of the pattern, in its order, percent-decoded.
    #[serde(borrow, default)]
    pub params: Vec<Pair<'a>>,
    /// `http` or `https`, as the client connected.
    #[serde(borrow)]
    pub scheme: Text<'a>,
    /// The host of the request, in lower case, without the port.
    #[serde(borrow)]
    pub host: Text<'a>,
    /// The client's address and port.
    #[serde(borrow)]
    pub client: Text<'a>,
    /// Header fields in order, without hop-by-hop fields. Names are in lower case. A value that is not UTF-8 is read as
    /// Latin-1.
    #[serde(borrow, default)]
    pub headers: Vec<Pair<'a>>,
    /// Milliseconds that are left until the head of the response must arrive at the gateway.
    pub deadline_ms: u64,
    /// The W3C `traceparent` field, if the request has one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Text<'a>>,
}

/// The head of a response, as the gateway receives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHead<'a> {
    /// 200 to 599. Informational responses (1xx) are not transferred.
    pub status: u16,
    /// Header fields in order.
    #[serde(borrow, default)]
    pub headers: Vec<Pair<'a>>,
}

/// The configuration that a worker receives before it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The version of the protocol that both sides use from now on.
    pub version: u8,
    /// The function's name.
    pub function: String,
    /// The worker's id, unique while the platform runs.
    pub worker: u64,
    /// The generation of the manifest it belongs to.
    pub generation: u64,
    /// Handlers that may run at once.
    pub concurrency: u32,
    /// The function's resources, as in the manifest.
    #[serde(default)]
    pub resources: BTreeMap<String, serde_json::Value>,
    /// The function's environment, as in the manifest.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The values of secrets, by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// The machine's trusted CA certificates, each in PEM.
    #[serde(default)]
    pub ca_certificates: Vec<String>,
    /// Sizes that both sides keep to.
    pub limits: Limits,
}

/// Sizes in bytes that both ends of a data socket keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Credit that each direction of a stream starts with.
    pub credit: u32,
    /// Size of the largest request body that the gateway accepts.
    pub body_bytes: u64,
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
    /// The id of the request that the record belongs to, if any.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Text<'a>>,
    /// Further fields to search for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
}
