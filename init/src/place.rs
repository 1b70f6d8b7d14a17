//! Where everything is on the appliance: the file systems that are mounted, and the files that init and the
//! others agree on.

use std::fmt;

use nix::mount::MsFlags;

/// Another file system.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its type.
    pub kind: &'static str,
    /// Where.
    pub place: &'static str,
    /// The directory's mode, where it must be made.
    pub mode: u32,
    /// How strictly.
    pub flags: MsFlags,
    /// Its own options.
    pub options: &'static str,
    /// Nothing works without it.
    pub needed: bool,
    /// It is mounted in the initramfs already, for the kernel's log and what the move needs.
    pub early: bool,
}

/// Nothing is executed, no device is one, nothing gains privileges.
const STRICT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);

const fn needed(
    kind: &'static str,
    place: &'static str,
    mode: u32,
    flags: MsFlags,
    options: &'static str,
) -> Mount {
    Mount {
        kind,
        place,
        mode,
        flags,
        options,
        needed: true,
        early: false,
    }
}

const fn early(mount: Mount) -> Mount {
    Mount {
        early: true,
        ..mount
    }
}

const fn optional(kind: &'static str, place: &'static str) -> Mount {
    Mount {
        needed: false,
        ..needed(kind, place, 0o755, STRICT, "")
    }
}

/// All of them, in order.
pub const MOUNTS: &[Mount] = &[
    // First the kernel's log, then what it wants to be told.
    early(needed("devtmpfs", "/dev", 0o755, DEVICES, "mode=0755")),
    early(needed("proc", "/proc", 0o555, STRICT, "")),
    needed("sysfs", "/sys", 0o555, STRICT, ""),
    needed(
        "devpts",
        "/dev/pts",
        0o755,
        DEVICES,
        "mode=0620,ptmxmode=0666",
    ),
    needed("tmpfs", "/dev/shm", 0o1777, STRICT, "mode=1777,size=25%"),
    needed("tmpfs", "/run", 0o755, STRICT, "mode=0755,size=25%"),
    needed("tmpfs", "/tmp", 0o1777, STRICT, "mode=1777,size=25%"),
    needed(
        "cgroup2",
        "/sys/fs/cgroup",
        0o755,
        STRICT,
        "nsdelegate,memory_recursiveprot",
    ),
    // Neither is there on every board.
    optional("efivarfs", "/sys/firmware/efi/efivars"),
    optional("pstore", "/sys/fs/pstore"),
];

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (MsFlags::MS_NOSUID, "nosuid"),
            (MsFlags::MS_NODEV, "nodev"),
            (MsFlags::MS_NOEXEC, "noexec"),
        ];
        let flags = words.iter().filter(|(flag, _)| self.flags.contains(*flag));
        let mut words: Vec<&str> = flags.map(|(_, word)| *word).collect();
        words.extend(Some(self.options).filter(|options| !options.is_empty()));
        write!(
            f,
            "mount {} at {} ({})",
            self.kind,
            self.place,
            words.join(",")
        )
    }
}

/// What the others read and write.
pub const RUN: &str = "/run/hearth";
/// How this boot went.
pub const BOOT_RECORD: &str = "/run/hearth/boot.json";
/// What hearth-net tells of the network.
pub const NET_RECORD: &str = "/run/hearth/net.json";
/// The settings that hold.
pub const SETTINGS: &str = "/run/hearth/device.yaml";
/// Where the supervisor says that it is ready and well.
pub const NOTIFY: &str = "/run/hearth/notify";
/// A word for the firmware with the next restart, where it takes one (`0 tryboot` on the Raspberry Pi).
pub const RESTART_WORD: &str = "/run/hearth/restart-word";
/// The name servers, where `/etc/resolv.conf` points.
pub const RESOLV: &str = "/run/hearth/resolv.conf";
/// The image's word on itself.
pub const RELEASE: &str = "/etc/hearth/release.json";
/// The pristine data file system.
pub const PRISTINE: &str = "/usr/share/hearth/data.sparse";
/// The selector's partition, and data.
pub const BOOT: &str = "/boot";
/// Where data is.
pub const DATA: &str = "/data";
/// Init's own part of it.
pub const SYSTEM: &str = "/data/system";
/// A file of this name asks for a factory reset, on either partition.
pub const RESET: &str = "factory-reset";
