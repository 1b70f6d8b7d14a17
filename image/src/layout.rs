//! Where everything lies on a disk: pure numbers. Who writes tables is `gpt` and `mbr`.

use crate::board::Firmware;

/// Bytes of a sector. Disks whose logical sectors are larger are refused when they are written.
pub const SECTOR: u64 = 512;

/// Partitions begin at whole MiB, as every tool has it: erase blocks and pages fit into that.
pub const MIB: u64 = 1 << 20;

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// What firmware reads first: the selector or nothing, `autoboot.txt`, `device.yaml`.
    Esp,
    /// A system.
    SlotA,
    /// The other system.
    SlotB,
    /// What makes this box itself.
    Identity,
    /// Everything that changes.
    Data,
}

impl Role {
    /// In the order of the disk.
    pub const ALL: [Role; 5] = [
        Role::Esp,
        Role::SlotA,
        Role::SlotB,
        Role::Identity,
        Role::Data,
    ];

    /// A GPT's name for it. An MBR has no names; there it follows from the number.
    pub const fn label(self) -> &'static str {
        match self {
            Role::Esp => "esp",
            Role::SlotA => "slot-a",
            Role::SlotB => "slot-b",
            Role::Identity => "identity",
            Role::Data => "data",
        }
    }

    /// Its number among the partitions. In an MBR the fourth is the frame around the last two.
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

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Span {
    /// The first byte behind it.
    pub const fn end(self) -> u64 {
        self.start + self.len
    }
}

/// The programs of UEFI are tens of KiB, `device.yaml` less; FAT12 of this size is read by every firmware.
const ESP: u64 = 2 * MIB;
/// A kernel and all that runs.
const SLOT: u64 = 16 * MIB;
/// Two copies of some keys and certificates.
const IDENTITY: u64 = MIB;
/// As it is in an image: an ext4 with a journal of 8 MiB. First boot grows it.
const DATA: u64 = 10 * MIB;

/// Where each partition of an image lies.
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

/// Where the last two partitions begin; in an MBR, the frame around them.
pub(crate) const fn logical(_firmware: Firmware) -> u64 {
    MIB + ESP + 2 * SLOT
}

/// Room before each of the last two: in an MBR, each has a sector there that tells of it. Half a MiB twice
/// is one MiB, so the data begins at a whole one.
pub(crate) const fn gap(firmware: Firmware) -> u64 {
    match firmware {
        Firmware::Uefi => 0,
        Firmware::Pi => MIB / 2,
    }
}

/// Bytes of an image: behind the data a GPT has its second copy.
pub const fn image_len(firmware: Firmware) -> u64 {
    let data = span(Role::Data, firmware).end();
    match firmware {
        Firmware::Uefi => data + MIB,
        Firmware::Pi => data,
    }
}

/// What growing the data leaves free at a disk's end, for larger slots in versions to come: a quarter of
/// the disk, and at most 256 MiB.
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
