//! Position and size of everything on a disk, as pure numbers. `gpt` and `mbr` write the tables.

use crate::board::Firmware;

/// Bytes of a sector. Writing an image to a disk with larger logical sectors is refused.
pub const SECTOR: u64 = 512;

/// One MiB. Partitions begin at whole MiB, as all tools align them: erase blocks and pages fit into that.
pub const MIB: u64 = 1 << 20;

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// What firmware reads first: the selector (UEFI only), `autoboot.txt` and `device.yaml`.
    Esp,
    /// The first system.
    SlotA,
    /// The second system.
    SlotB,
    /// The device's own identity.
    Identity,
    /// Everything that changes: state, logs and certificates.
    Data,
}

impl Role {
    /// All roles, in the order of their partitions on the disk.
    pub const ALL: [Role; 5] = [
        Role::Esp,
        Role::SlotA,
        Role::SlotB,
        Role::Identity,
        Role::Data,
    ];

    /// The partition's name in a GPT. An MBR has no names; there, the role follows from the number.
    pub const fn label(self) -> &'static str {
        match self {
            Role::Esp => "esp",
            Role::SlotA => "slot-a",
            Role::SlotB => "slot-b",
            Role::Identity => "identity",
            Role::Data => "data",
        }
    }

    /// The partition's number. In an MBR, number 4 is the extended partition that contains the last two.
    pub const fn number(self, firmware: Firmware) -> u32 {
        let number = match self {
            Role::Esp => 1,
            Role::SlotA => 2,
            Role::SlotB => 3,
            Role::Identity => 4,
            Role::Data => 5,
        };
        match firmware {
            Firmware::Pi if number > 3 => number + 1,
            Firmware::Pi | Firmware::Uefi => number,
        }
    }
}

/// Position and length of a partition, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// The number of bytes.
    pub len: u64,
}

impl Span {
    /// Returns the first byte after the partition.
    pub const fn end(self) -> u64 {
        self.start + self.len
    }
}

/// Size of the ESP. The UEFI programs have tens of KiB, `device.yaml` less. Every firmware reads FAT12 of this size.
const ESP: u64 = 2 * MIB;
/// Size of a slot: kernel, root file system and functions.
const SLOT: u64 = 16 * MIB;
/// Size of the identity partition: two copies of some keys and certificates.
const IDENTITY: u64 = MIB;
/// Size of the data partition in an image: an ext4 with a journal of 8 MiB. The first boot grows it.
const DATA: u64 = 10 * MIB;

/// Position and length of each partition in an image.
pub const fn span(role: Role, firmware: Firmware) -> Span {
    let (start, len) = match role {
        Role::Esp => (MIB, ESP),
        Role::SlotA => (MIB + ESP, SLOT),
        Role::SlotB => (MIB + ESP + SLOT, SLOT),
        Role::Identity => (logical(firmware) + gap(firmware), IDENTITY),
        Role::Data => (logical(firmware) + 2 * gap(firmware) + IDENTITY, DATA),
    };
    Span { start, len }
}

/// Where the last two partitions begin; in an MBR, where the extended partition begins.
pub(crate) const fn logical(_firmware: Firmware) -> u64 {
    MIB + ESP + 2 * SLOT
}

/// Bytes before each of the last two partitions. In an MBR, each needs a sector there that describes it. Two gaps of
/// half a MiB make the data partition begin at a whole MiB.
pub(crate) const fn gap(firmware: Firmware) -> u64 {
    match firmware {
        Firmware::Uefi => 0,
        Firmware::Pi => MIB / 2,
    }
}

/// Length of an image in bytes. A GPT has its second copy after the data partition.
pub const fn image_len(firmware: Firmware) -> u64 {
    let data = span(Role::Data, firmware).end();
    match firmware {
        Firmware::Uefi => data + MIB,
        Firmware::Pi => data,
    }
}

/// Bytes at a disk's end that growing the data partition leaves free for larger slots in later versions: a quarter of
/// the disk, at most 256 MiB.
pub const fn reserve(disk: u64) -> u64 {
    let quarter = disk / 4;
    if quarter < 256 * MIB {
        quarter
    } else {
        256 * MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_one_behind_the_other_at_whole_mebibytes_and_images_stay_small() {
        for firmware in [Firmware::Uefi, Firmware::Pi] {
            let mut end = MIB;
            for role in Role::ALL {
                let span = span(role, firmware);
                assert!(span.start >= end, "{role:?}");
                assert!(span.start.is_multiple_of(gap(firmware).max(1)));
                assert!(
                    role == Role::Identity || span.start.is_multiple_of(MIB),
                    "{role:?}"
                );
                end = span.end();
            }
            assert!(image_len(firmware) >= end);
            assert!(image_len(firmware) < 48 * MIB);
        }
        assert_eq!(span(Role::Data, Firmware::Uefi).start, 36 * MIB);
        assert_eq!(span(Role::Data, Firmware::Pi).start, 37 * MIB);
        assert_eq!(Role::Data.number(Firmware::Pi), 6);
        assert_eq!(Role::Data.number(Firmware::Uefi), 5);
    }

    #[test]
    fn the_reserve_is_a_quarter_and_bounded() {
        assert_eq!(reserve(400 * MIB), 100 * MIB);
        assert_eq!(reserve(1 << 40), 256 * MIB);
    }
}
