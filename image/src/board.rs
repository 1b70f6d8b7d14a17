//! The boards that images exist for.

use std::fmt;
use std::str::FromStr;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Board {
    /// QEMU's PC.
    QemuX86_64,
    /// QEMU's `virt` machine.
    QemuAarch64,
    /// Intel's NUC, and most PCs with UEFI.
    Nuc,
    /// Raspberry Pi 4.
    Rpi4,
}

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// The architecture of PCs.
    X86_64,
    /// The architecture of the Raspberry Pi and of other Arm boards.
    Aarch64,
}

/// The firmware that starts the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// UEFI, with a GPT.
    Uefi,
    /// The Raspberry Pi's firmware, with an MBR.
    Pi,
}

impl Board {
    /// All boards.
    pub const ALL: [Board; 4] = [
        Board::QemuX86_64,
        Board::QemuAarch64,
        Board::Nuc,
        Board::Rpi4,
    ];

    /// The name in kits, images and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Board::QemuX86_64 => "qemu-x86_64",
            Board::QemuAarch64 => "qemu-aarch64",
            Board::Nuc => "nuc",
            Board::Rpi4 => "rpi4",
        }
    }

    /// The processor architecture.
    pub const fn arch(self) -> Arch {
        match self {
            Board::QemuX86_64 | Board::Nuc => Arch::X86_64,
            Board::QemuAarch64 | Board::Rpi4 => Arch::Aarch64,
        }
    }

    /// The firmware.
    pub const fn firmware(self) -> Firmware {
        match self {
            Board::QemuX86_64 | Board::QemuAarch64 | Board::Nuc => Firmware::Uefi,
            Board::Rpi4 => Firmware::Pi,
        }
    }
}

impl Arch {
    /// All architectures.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// The name in kits and in the kernel (`uname -m`).
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The program in `/EFI/BOOT` that firmware starts (UEFI Specification, 3.5.1.1).
    pub const fn boot_file(self) -> &'static str {
        match self {
            Arch::X86_64 => "BOOTX64.EFI",
            Arch::Aarch64 => "BOOTAA64.EFI",
        }
    }
}

/// The names of all boards, for messages.
fn names() -> String {
    Board::ALL.map(Board::name).join(", ")
}

/// No board has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no board {:?}; there are {}", .0, names())]
pub struct UnknownBoard(pub String);

impl FromStr for Board {
    type Err = UnknownBoard;

    fn from_str(text: &str) -> Result<Board, UnknownBoard> {
        let mut all = Board::ALL.into_iter();
        all.find(|board| board.name() == text)
            .ok_or_else(|| UnknownBoard(text.to_owned()))
    }
}

/// Hearth has no images for an architecture of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture {0:?}: expected x86_64 or aarch64")]
pub struct UnknownArch(pub String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Arch, UnknownArch> {
        let mut all = Arch::ALL.into_iter();
        all.find(|arch| arch.name() == name)
            .ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_known_by_their_names_and_no_others() {
        for board in Board::ALL {
            assert_eq!(board.name().parse(), Ok(board));
        }
        let unknown = "rpi3".parse::<Board>().unwrap_err().to_string();
        assert_eq!(
            unknown,
            "there is no board \"rpi3\"; there are qemu-x86_64, qemu-aarch64, nuc, rpi4"
        );
    }
}
