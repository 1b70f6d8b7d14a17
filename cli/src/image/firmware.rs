//! Finds QEMU and its UEFI firmware where distributions install them. If they are missing, the errors name the
//! packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hearth_image::Arch;

/// What a virtual machine needs on this machine.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) qemu: PathBuf,
    /// The file with the firmware's code.
    pub(crate) code: PathBuf,
    /// A fresh store of the firmware's variables, which is copied for each machine.
    pub(crate) variables: PathBuf,
}

/// Directory, code and variables of the firmware, as Debian and Ubuntu, Fedora, Arch Linux and QEMU itself name them.
type Place = (&'static str, &'static str, &'static str);

const X86_64: &[Place] = &[
    ("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
    (
        "/usr/share/qemu",
        "edk2-x86_64-code.fd",
        "edk2-i386-vars.fd",
    ),
];

const AARCH64: &[Place] = &[
    ("/usr/share/AAVMF", "AAVMF_CODE.fd", "AAVMF_VARS.fd"),
    (
        "/usr/share/edk2/aarch64",
        "QEMU_EFI-pflash.raw",
        "vars-template-pflash.raw",
    ),
    ("/usr/share/edk2/aarch64", "QEMU_CODE.fd", "QEMU_VARS.fd"),
    (
        "/usr/share/qemu",
        "edk2-aarch64-code.fd",
        "edk2-arm-vars.fd",
    ),
];

impl Tools {
    /// Finds the tools for an architecture.
    pub(crate) fn find(arch: Arch) -> anyhow::Result<Tools> {
        let (program, package, firmware, places) = match arch {
            Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86", "ovmf", X86_64),
            Arch::Aarch64 => (
                "qemu-system-aarch64",
                "qemu-system-arm",
                "qemu-efi-aarch64",
                AARCH64,
            ),
        };
        let qemu = on_path(program);
        let qemu = qemu.with_context(|| {
            format!(
                "{program} is not there: it starts {arch} images (Debian: apt install {package})"
            )
        })?;
        for (directory, code, variables) in places {
            let directory = Path::new(directory);
            let (code, variables) = (directory.join(code), directory.join(variables));
            if code.is_file() && variables.is_file() {
                return Ok(Tools {
                    qemu,
                    code,
                    variables,
                });
            }
        }
        bail!("no UEFI firmware for {arch} machines (Debian: apt install {firmware})")
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|place| place.is_file())
}
