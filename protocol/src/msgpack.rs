//! Encoder and decoder for the subset of MessagePack that this crate's structures need.
//!
//! The reader accepts every width of every type, skips unknown fields, and reports what is wrong and where. It exists
//! in addition to `rmp_serde` because it is part of every worker: the decoders that serde derives for the heads and
//! CONFIG are 70 KiB of machine code, a third of the smallest worker.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Maximum nesting depth of a value.
const DEPTH: u32 = 64;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong} at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub wrong: Wrong,
    /// The offset of the error from the first byte of the structure.
    pub at: usize,
}

/// Errors in MessagePack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The bytes end within a value.
    #[error("they end within a value")]
    Ends,
    /// Bytes follow the structure.
    #[error("something comes behind the structure")]
    Trailing,
    /// A value has another type, or is out of range.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A required field is missing.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field comes twice.
    #[error("the field `{0}` comes twice")]
    Twice(&'static str),
    /// Values are nested too deeply.
    #[error("nested deeper than {DEPTH}")]
    TooDeep,
}

/// Reads a structure field by field: `structure!(reader, Type { must: text; may: pairs })`. The names after the colons
/// are methods of [`Reader`]. A field after the semicolon is optional and has a default.
macro_rules! structure {
    ($reader:ident, $name:ident { $($must:ident: $read:ident),*; $($may:ident: $read_may:ident),* }) => {{
        $(let mut $must = None;)*
        $(let mut $may = None;)*
        for _ in 0..$reader.map()? {
            let name = $reader.name()?;
            $(if name == stringify!($must).as_bytes() {
                let value = $reader.$read()?;
                $reader.once(&mut $must, value, stringify!($must))?;
                continue;
            })*
            $(if name == stringify!($may).as_bytes() {
                let value = $reader.$read_may()?;
                $reader.once(&mut $may, value, stringify!($may))?;
                continue;
            })*
            $reader.skip()?;
        }
        $name {
            $($must: $must.ok_or_else(|| $reader.wrong(Wrong::Missing(stringify!($must))))?,)*
            $($may: $may.unwrap_or_default(),)*
        }
    }};
}
pub(crate) use structure;

/// Reads values from the start of a byte slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Reads a value with `read`, which must consume all of `bytes`.
    pub(crate) fn whole<T>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let mut reader = Reader {
            rest: bytes,
            len: bytes.len(),
        };
        let value = read(&mut reader)?;
        match reader.rest {
            [] => Ok(value),
            _ => Err(reader.wrong(Wrong::Trailing)),
        }
    }

    #[cold]
    pub(crate) fn wrong(&self, wrong: Wrong) -> Malformed {
        let at = self.len - self.rest.len();
        Malformed { wrong, at }
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(self.wrong(Wrong::Expected(what)))
    }

    /// Sets a field. Fails if the field already has a value.
    pub(crate) fn once<T>(
        &self,
        field: &mut Option<T>,
        value: T,
        name: &'static str,
    ) -> Result<(), Malformed> {
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.wrong(Wrong::Twice(name))),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take::<1>()?[0])
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((first, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.wrong(Wrong::Ends));
        };
        self.rest = rest;
        Ok(*first)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let Some((slice, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.wrong(Wrong::Ends));
        };
        self.rest = rest;
        Ok(slice)
    }

    fn len8(&mut self) -> Result<usize, Malformed> {
        Ok(self.byte()?.into())
    }

    fn len16(&mut self) -> Result<usize, Malformed> {
        Ok(u16::from_be_bytes(self.take()?).into())
    }

    fn len32(&mut self) -> Result<usize, Malformed> {
        // The conversion loses nothing, because no target of this crate has 16-bit addresses.
        Ok(u32::from_be_bytes(self.take()?) as usize)
    }

    /// Reads the start of a map. Returns the number of its pairs.
    pub(crate) fn map(&mut self) -> Result<usize, Malformed> {
        match self.byte()? {
            byte @ 0x80..=0x8f => Ok(usize::from(byte & 0x0f)),
            0xde => self.len16(),
            0xdf => self.len32(),
            _ => self.expected("a map"),
        }
    }

    fn array(&mut self) -> Result<usize, Malformed> {
        match self.byte()? {
            byte @ 0x90..=0x9f => Ok(usize::from(byte & 0x0f)),
            0xdc => self.len16(),
            0xdd => self.len32(),
            _ => self.expected("an array"),
        }
    }

    /// Reads text as bytes. It is not validated as UTF-8, because the name of a field is only compared with the names
    /// of known fields.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let len = match self.byte()? {
            byte @ 0xa0..=0xbf => usize::from(byte & 0x1f),
            0xd9 => self.len8()?,
            0xda => self.len16()?,
            0xdb => self.len32()?,
            _ => return self.expected("text"),
        };
        self.slice(len)
    }

    pub(crate) fn text<T: From<&'a str>>(&mut self) -> Result<T, Malformed> {
        match std::str::from_utf8(self.name()?) {
            Ok(text) => Ok(text.into()),
            Err(_) => self.expected("text in UTF-8"),
        }
    }

    /// Reads text or nil.
    pub(crate) fn text_or_nil<T: From<&'a str>>(&mut self) -> Result<Option<T>, Malformed> {
        match self.rest.first() {
            Some(0xc0) => self.byte().map(|_| None),
            _ => self.text().map(Some),
        }
    }

    /// Reads a non-negative integer of any type.
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let signed = match self.byte()? {
            byte @ 0..=0x7f => return Ok(byte.into()),
            0xcc => return Ok(self.byte()?.into()),
            0xcd => return Ok(u16::from_be_bytes(self.take()?).into()),
            0xce => return Ok(u32::from_be_bytes(self.take()?).into()),
            0xcf => return Ok(u64::from_be_bytes(self.take()?)),
            0xd0 => i8::from_be_bytes(self.take()?).into(),
            0xd1 => i16::from_be_bytes(self.take()?).into(),
            0xd2 => i32::from_be_bytes(self.take()?).into(),
            0xd3 => i64::from_be_bytes(self.take()?),
            _ => -1,
        };
        u64::try_from(signed).or_else(|_| self.expected("a whole number"))
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        match T::try_from(self.number()?) {
            Ok(number) => Ok(number),
            Err(_) => self.expected("a smaller number"),
        }
    }

    pub(crate) fn number8(&mut self) -> Result<u8, Malformed> {
        self.small()
    }

    pub(crate) fn number16(&mut self) -> Result<u16, Malformed> {
        self.small()
    }

    pub(crate) fn number32(&mut self) -> Result<u32, Malformed> {
        self.small()
    }

    /// Reads a list of values that take at least `least` bytes each.
    fn list<T>(
        &mut self,
        least: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.array()?;
        // The bytes that are left limit how much memory the announced length can reserve.
        let mut list = Vec::with_capacity(count.min(self.rest.len() / least));
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// Reads a list of pairs of text.
    pub(crate) fn pairs<P: From<&'a str>>(&mut self) -> Result<Vec<(P, P)>, Malformed> {
        // A pair takes at least 3 bytes: the start of an array and two empty texts.
        self.list(3, |reader| match reader.array()? {
            2 => Ok((reader.text()?, reader.text()?)),
            _ => reader.expected("a pair"),
        })
    }

    pub(crate) fn strings(&mut self) -> Result<Vec<String>, Malformed> {
        self.list(1, Reader::text)
    }

    // Entries are inserted one by one, because `collect` would add the code of a sort.
    fn entries<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<BTreeMap<String, T>, Malformed> {
        let mut map = BTreeMap::new();
        for _ in 0..self.map()? {
            let name = self.text()?;
            map.insert(name, read(self)?);
        }
        Ok(map)
    }

    /// Reads a map of text to text.
    pub(crate) fn string_map(&mut self) -> Result<BTreeMap<String, String>, Malformed> {
        self.entries(Reader::text)
    }

    /// Reads a map of text to values that JSON can represent.
    pub(crate) fn value_map(&mut self) -> Result<BTreeMap<String, Value>, Malformed> {
        self.entries(|reader| reader.value(DEPTH))
    }

    /// Reads any value that JSON can represent.
    fn value(&mut self, depth: u32) -> Result<Value, Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.wrong(Wrong::TooDeep));
        };
        let Some(&marker) = self.rest.first() else {
            return Err(self.wrong(Wrong::Ends));
        };
        Ok(match marker {
            0x00..=0x7f | 0xcc..=0xcf => self.number()?.into(),
            0xa0..=0xbf | 0xd9..=0xdb => self.text::<&str>()?.into(),
            0x80..=0x8f | 0xde | 0xdf => {
                let count = self.map()?;
                let mut map = Map::new();
                for _ in 0..count {
                    map.insert(self.text()?, self.value(depth)?);
                }
                map.into()
            }
            0x90..=0x9f | 0xdc | 0xdd => self.list(1, |reader| reader.value(depth))?.into(),
            _ => {
                self.byte()?;
                match marker {
                    0xc0 => Value::Null,
                    0xc2 => false.into(),
                    0xc3 => true.into(),
                    0xca => f32::from_be_bytes(self.take()?).into(),
                    0xcb => f64::from_be_bytes(self.take()?).into(),
                    0xd0 => i8::from_be_bytes(self.take()?).into(),
                    0xd1 => i16::from_be_bytes(self.take()?).into(),
                    0xd2 => i32::from_be_bytes(self.take()?).into(),
                    0xd3 => i64::from_be_bytes(self.take()?).into(),
                    0xe0..=0xff => marker.cast_signed().into(),
                    _ => return self.expected("a value that JSON can say"),
                }
            }
        })
    }

    /// Skips a value of any type.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut left = 1u64;
        while let Some(others) = left.checked_sub(1) {
            // The number of bytes after the marker and the length, and the number of values within the value.
            let (len, within) = match self.byte()? {
                byte @ 0x80..=0x8f => (0, 2 * u64::from(byte & 0x0f)),
                byte @ 0x90..=0x9f => (0, u64::from(byte & 0x0f)),
                byte @ 0xa0..=0xbf => (usize::from(byte & 0x1f), 0),
                0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
                0xc1 => return self.expected("a value"),
                0xc4 | 0xd9 => (self.len8()?, 0),
                0xc5 | 0xda => (self.len16()?, 0),
                0xc6 | 0xdb => (self.len32()?, 0),
                // Extensions: their data is preceded by one byte for their type.
                0xc7 => (self.len8()? + 1, 0),
                0xc8 => (self.len16()? + 1, 0),
                0xc9 => (self.len32()?.saturating_add(1), 0),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 | 0xd4 => (2, 0),
                0xd5 => (3, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xd6 => (5, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                0xd7 => (9, 0),
                0xd8 => (17, 0),
                0xdc => (0, self.len16()? as u64),
                0xdd => (0, self.len32()? as u64),
                0xde => (0, 2 * self.len16()? as u64),
                0xdf => (0, 2 * self.len32()? as u64),
            };
            self.slice(len)?;
            left = others.saturating_add(within);
        }
        Ok(())
    }
}

/// Appends the start of a map of `pairs` pairs.
pub(crate) fn put_map(out: &mut Vec<u8>, pairs: usize) {
    put_len(out, pairs, [0x80, 0xde, 0xdf]);
}

/// Appends the start of an array of `values` values.
pub(crate) fn put_array(out: &mut Vec<u8>, values: usize) {
    put_len(out, values, [0x90, 0xdc, 0xdd]);
}

/// Appends a length in the shortest of three forms: up to 15, 16 bits, or 32 bits.
fn put_len(out: &mut Vec<u8>, len: usize, [short, long, longest]: [u8; 3]) {
    match len {
        0..16 => out.push(short | len as u8),
        16..0x1_0000 => {
            out.push(long);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(longest);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 | u8::from(*value)),
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                put_number(out, number);
            } else if let Some(number) = number.as_i64() {
                out.push(0xd3);
                out.extend_from_slice(&number.to_be_bytes());
            } else if let Some(number) = number.as_f64() {
                out.push(0xcb);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        Value::String(text) => put_text(out, text),
        Value::Array(values) => {
            put_array(out, values.len());
            values.iter().for_each(|value| put_value(out, value));
        }
        Value::Object(map) => {
            put_map(out, map.len());
            for (name, value) in map {
                put_text(out, name);
                put_value(out, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1000i64..1000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,300}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::btree_map(".{0,40}", inner, 0..20)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn read(bytes: &[u8]) -> Result<Value, Malformed> {
        Reader::whole(bytes, |reader| reader.value(DEPTH))
    }

    fn skip(bytes: &[u8]) -> Result<(), Malformed> {
        Reader::whole(bytes, Reader::skip)
    }

    proptest! {
        /// This reader decodes what `rmp_serde` writes, and `rmp_serde` decodes what this module writes.
        #[test]
        fn values_are_those_of_the_library(value in values()) {
            let theirs = rmp_serde::to_vec_named(&value).unwrap();
            prop_assert_eq!(&read(&theirs).unwrap(), &value);
            prop_assert_eq!(skip(&theirs), Ok(()));
            let mut ours = Vec::new();
            put_value(&mut ours, &value);
            prop_assert_eq!(&rmp_serde::from_slice::<Value>(&ours).unwrap(), &value);
            prop_assert_eq!(skip(&ours), Ok(()));
            for cut in 0..ours.len().min(200) {
                prop_assert!(skip(&ours[..cut]).is_err());
                prop_assert!(read(&ours[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(value) = read(&bytes) {
                prop_assert_eq!(skip(&bytes), Ok(()));
                prop_assert_eq!(rmp_serde::from_slice::<Value>(&bytes).ok(), Some(value));
            }
        }
    }

    #[test]
    fn every_marker_is_skipped_with_what_belongs_to_it() {
        for (bytes, len) in [
            (&[0xc4u8, 2, 0, 0][..], 4),
            (&[0xc5, 0, 1, 0], 4),
            (&[0xc6, 0, 0, 0, 1, 0], 6),
            (&[0xc7, 1, 9, 0], 4),
            (&[0xc8, 0, 1, 9, 0], 5),
            (&[0xc9, 0, 0, 0, 1, 9, 0], 7),
            (&[0xd4, 9, 0], 3),
            (&[0xd5, 9, 0, 0], 4),
            (&[0xd6, 9, 0, 0, 0, 0], 6),
            (&[0xd7, 9, 0, 0, 0, 0, 0, 0, 0, 0], 10),
            (&[0xca, 0, 0, 0, 0], 5),
            (&[0xdc, 0, 2, 0xc0, 0xc3], 5),
            (&[0xdd, 0, 0, 0, 1, 0xc0], 6),
            (&[0xde, 0, 1, 0xa1, b'a', 0xff], 6),
            (&[0xdf, 0, 0, 0, 1, 0xa1, b'a', 0x80], 8),
        ] {
            assert_eq!(bytes.len(), len);
            assert_eq!(skip(bytes), Ok(()), "{bytes:x?}");
            let cut = skip(&bytes[..len - 1]).unwrap_err();
            assert_eq!(cut.wrong, Wrong::Ends, "{bytes:x?}");
        }
        assert_eq!(skip(&[0xc1]).unwrap_err().wrong, Wrong::Expected("a value"));
    }

    #[test]
    fn a_bomb_of_depth_or_of_length_is_refused() {
        let deep = [0x91; 100_000];
        assert_eq!(read(&deep).unwrap_err().wrong, Wrong::TooDeep);
        assert_eq!(skip(&deep).unwrap_err().wrong, Wrong::Ends);
        let long = [0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0];
        assert_eq!(read(&long).unwrap_err().wrong, Wrong::Ends);
        let longest = [[0xdf, 0xff, 0xff, 0xff, 0xff]; 64].concat();
        assert_eq!(skip(&longest).unwrap_err().wrong, Wrong::Ends);
    }

    #[test]
    fn a_number_may_come_as_any_type() {
        let number = |bytes: &[u8]| Reader::whole(bytes, Reader::number);
        assert_eq!(number(&[0xd0, 7]), Ok(7));
        assert_eq!(number(&[0xd1, 0, 7]), Ok(7));
        assert_eq!(number(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 7]), Ok(7));
        assert_eq!(number(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7]), Ok(7));
        let negative = number(&[0xd0, 0xff]).unwrap_err();
        assert_eq!(negative.to_string(), "expected a whole number at byte 2");
        assert!(Reader::whole(&[0xcd, 1, 0], Reader::number8).is_err());
    }
}
