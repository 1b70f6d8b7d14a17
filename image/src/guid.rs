//! GUIDs in their binary form on disks: the first three fields little-endian, the others big-endian (UEFI
//! Specification, appendix A).

use std::fmt;

/// A GUID: sixteen bytes in disk order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The zero GUID, which marks an unused entry of a table.
    pub const NONE: Guid = Guid([0; 16]);

    /// Creates a GUID from the fields of its text. `rest` is the last two fields as one number.
    pub const fn new(a: u32, b: u16, c: u16, rest: u64) -> Guid {
        let (a, b, c, rest) = (
            a.to_le_bytes(),
            b.to_le_bytes(),
            c.to_le_bytes(),
            rest.to_be_bytes(),
        );
        Guid([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], rest[0], rest[1], rest[2], rest[3],
            rest[4], rest[5], rest[6], rest[7],
        ])
    }

    /// Creates a GUID from the bytes of a hash: version 8, for vendor-specific use (RFC 9562).
    pub const fn of_hash(mut bytes: [u8; 16]) -> Guid {
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }
}

/// In lower case, as Linux writes GUIDs.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for index in [
            3, 2, 1, 0, 16, 5, 4, 16, 7, 6, 16, 8, 9, 16, 10, 11, 12, 13, 14, 15,
        ] {
            match self.0.get(index) {
                Some(byte) => write!(f, "{byte:02x}")?,
                None => f.write_str("-")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_those_of_the_specification() {
        let esp = Guid::new(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(esp.0[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        let made = Guid::of_hash([0xff; 16]).to_string();
        assert_eq!(made, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }
}
