//! The machine that QEMU makes of each processor architecture.

pub use hearth_image::Arch;

/// The program that emulates such a machine.
pub(crate) fn qemu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86_64",
        Arch::Aarch64 => "qemu-system-aarch64",
    }
}

/// Machine and processor. Everything is emulated (TCG), so that a test means the same on any host.
pub(crate) fn machine(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["-machine", "q35,accel=tcg", "-cpu", "max"],
        Arch::Aarch64 => &["-machine", "virt,accel=tcg", "-cpu", "cortex-a72"],
    }
}

/// The first serial port, as the kernel calls it.
pub(crate) fn serial(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "ttyS0",
        Arch::Aarch64 => "ttyAMA0",
    }
}
