//! What a boot is planned from: the kernel's command line, where the firmware started us from, the disks that the
//! kernel knows, what the image says of itself. Read from texts alone; whoever has the texts is elsewhere.

use serde_json::Value;

/// Which of the two slots runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// As `boot.json` has it.
    pub fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// The partition's number, on every board.
    pub fn of_partition(number: u32) -> Option<Slot> {
        match number {
            2 => Some(Slot::A),
            3 => Some(Slot::B),
            _ => None,
        }
    }
}

/// Where the firmware started this system from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The partition with this GUID, in lower case (the variable LoaderDevicePartUUID).
    Guid(String),
    /// The partition with this number of whatever disk has the board's layout (the Raspberry Pi).
    Number(u32),
}

/// How partitions are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// By a GUID partition table.
    Gpt,
    /// By a master boot record, data within its extended partition.
    Mbr,
}

/// The disk that this system is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, `vda`.
    pub name: String,
    /// Its partition table.
    pub table: Table,
    /// The slot that runs.
    pub slot: Slot,
    /// The partitions' names: selector and settings, then data.
    pub esp: String,
    /// `vda5`.
    pub data: String,
    /// Data's number in the table.
    pub data_number: u32,
}

/// A partition, as its disk's table and the kernel tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// `vda1`.
    pub name: String,
    /// The disk's name.
    pub disk: String,
    /// The disk's table.
    pub table: Table,
    /// Its number there.
    pub number: u32,
    /// PARTUUID, in lower case.
    pub id: String,
}

/// The disk that `origin` is on, if all that an appliance needs is there.
pub fn find_disk(origin: &Origin, partitions: &[Partition]) -> Option<Disk> {
    let fits = |one: &&Partition| match origin {
        Origin::Guid(guid) => one.id == *guid,
        Origin::Number(number) => one.number == *number && one.table == Table::Mbr,
    };
    // The same card twice, or a second disk with the same layout: the first by name, always the same.
    let mut found: Vec<&Partition> = partitions.iter().filter(fits).collect();
    found.sort_by_key(|one| (one.name.len(), &one.name));
    found.into_iter().find_map(|slot| {
        let table = slot.table;
        let data_number = match table {
            Table::Gpt => 5,
            Table::Mbr => 6,
        };
        let named = |number| {
            let mut same = partitions.iter().filter(|one| one.disk == slot.disk);
            let one = same.find(|one| one.number == number)?;
            Some(one.name.clone())
        };
        Some(Disk {
            name: slot.disk.clone(),
            table,
            slot: Slot::of_partition(slot.number)?,
            esp: named(1)?,
            data: named(data_number)?,
            data_number,
        })
    })
}

/// The value of `key` on the kernel's command line; the last one counts.
pub fn word<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
    let words = command_line.split_ascii_whitespace();
    let mut values = words.filter_map(|word| word.split_once('='));
    values
        .rfind(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// The text of an EFI variable as efivarfs gives it: four bytes of attributes, then UTF-16 that may end with
/// a NUL. ASCII is all that ours hold.
pub fn efi_text(variable: &[u8]) -> Option<String> {
    let units = variable.get(4..)?.chunks_exact(2);
    let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let text: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .collect::<Result<_, _>>()
        .ok()?;
    (!text.is_empty() && text.is_ascii()).then_some(text)
}

/// What the image says of itself (`/etc/hearth/release.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// What people call it.
    pub version: String,
    /// The board it is made for.
    pub board: String,
    /// When it was built, in seconds since 1970: the clock is never before.
    pub built: u64,
}

impl Release {
    /// Reads it; what is missing is empty.
    pub fn read(text: &str) -> Release {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        Release {
            version: text("version"),
            board: text("board"),
            built: json["built"].as_u64().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, disk: &str, number: u32, id: &str) -> Partition {
        Partition {
            name: name.to_owned(),
            disk: disk.to_owned(),
            table: if id.len() == 36 {
                Table::Gpt
            } else {
                Table::Mbr
            },
            number,
            id: id.to_owned(),
        }
    }

    fn gpt(disk: &str, mark: char) -> Vec<Partition> {
        let id = |number| format!("0000000{number}-0000-4000-8000-00000000000{mark}");
        (1..=5)
            .map(|number| partition(&format!("{disk}{number}"), disk, number, &id(number)))
            .collect()
    }

    #[test]
    fn the_disk_is_the_one_with_the_partition_that_was_started() {
        let both = [gpt("sda", '1'), gpt("vda", '2')].concat();
        let guid = Origin::Guid("00000003-0000-4000-8000-000000000002".to_owned());
        let found = find_disk(&guid, &both).unwrap();
        assert_eq!((found.name.as_str(), found.slot), ("vda", Slot::B));
        assert_eq!((found.esp.as_str(), found.data.as_str()), ("vda1", "vda5"));
        // No slot, no such partition, no data.
        let esp = Origin::Guid("00000001-0000-4000-8000-000000000002".to_owned());
        assert_eq!(find_disk(&esp, &both), None);
        assert_eq!(find_disk(&guid, &gpt("sda", '1')), None);
        assert_eq!(find_disk(&guid, &gpt("vda", '2')[..4]), None);
    }

    #[test]
    fn a_number_means_a_disk_with_a_master_boot_record() {
        let pi: Vec<Partition> = [1, 2, 3, 5, 6]
            .map(|number| {
                let id = format!("a1b2c3d4-0{number}");
                partition(&format!("mmcblk0p{number}"), "mmcblk0", number, &id)
            })
            .to_vec();
        let all = [gpt("sda", '1'), pi].concat();
        let found = find_disk(&Origin::Number(2), &all).unwrap();
        assert_eq!((found.data.as_str(), found.slot), ("mmcblk0p6", Slot::A));
        assert_eq!(found.table, Table::Mbr);
    }

    #[test]
    fn texts_from_outside_are_read_or_are_nothing() {
        assert_eq!(word("a=1 quiet a=2 b", "a"), Some("2"));
        assert_eq!(word("quiet", "quiet"), None);
        let variable: Vec<u8> = [7, 0, 0, 0, b'A', 0, b'-', 0, 0, 0].to_vec();
        assert_eq!(efi_text(&variable).as_deref(), Some("A-"));
        for bad in [
            &b""[..],
            &[7, 0, 0],
            &[7, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0xd8],
        ] {
            assert_eq!(efi_text(bad), None, "{bad:?}");
        }
        let release = Release::read(r#"{"version":"1","board":"nuc","built":5,"more":[]}"#);
        assert_eq!((release.version.as_str(), release.built), ("1", 5));
        assert_eq!(Release::read("no json"), Release::default());
    }
}
