//! QEMU's program and machine for each processor architecture.

pub use hearth_image::Arch;

/// The QEMU program that emulates this architecture.
pub(crate) fn qemu(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "qemu-system-x86_64",
        Arch::Aarch64 => "qemu-system-aarch64",
    }
}

/// Arguments for machine and processor. Everything is emulated (TCG), so that a test means the same on any host.
pub(crate) fn machine(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["-machine", "q35,accel=tcg", "-cpu", "max"],
        Arch::Aarch64 => &["-machine", "virt,accel=tcg", "-cpu", "cortex-a72"],
    }
}

/// The kernel's name of the first serial port.
pub(crate) fn serial(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "ttyS0",
        Arch::Aarch64 => "ttyAMA0",
    }
}
