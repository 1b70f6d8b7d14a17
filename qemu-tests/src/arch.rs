//! The processors that Hearth's appliance runs on, and the machine that QEMU makes of each.

use std::str::FromStr;

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// PCs; QEMU's machine is a q35.
    X86_64,
    /// Boards; QEMU's machine is a virt.
    Aarch64,
}

impl Arch {
    /// Every one.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// As Rust and Linux call it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The program that is such a machine.
    pub fn qemu(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// Machine and processor. Everything is emulated (TCG), so that a test means the same on any host.
    pub(crate) fn machine(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &["-machine", "q35,accel=tcg", "-cpu", "max"],
            Arch::Aarch64 => &["-machine", "virt,accel=tcg", "-cpu", "cortex-a72"],
        }
    }

    /// The first serial port, as the kernel calls it.
    pub(crate) fn serial(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0",
            Arch::Aarch64 => "ttyAMA0",
        }
    }
}

/// Not the name of a processor that Hearth's appliance runs on.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no architecture of the appliance: x86_64, aarch64")]
pub struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Arch, UnknownArch> {
        let mut all = Arch::ALL.into_iter();
        all.find(|arch| arch.name() == name)
            .ok_or_else(|| UnknownArch(name.to_owned()))
    }
}
