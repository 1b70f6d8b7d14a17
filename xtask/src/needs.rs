//! Programs and files that tasks need, and the Debian packages that contain them. There is one list per purpose, so
//! that a run can name everything that it will install before it begins.

/// A program, or the path of another file, and the package that contains it.
pub type Need = (&'static str, &'static str);

/// For tests on the host: compilers, clients, and the servers that functions use.
pub const TESTS: &[Need] = &[
    ("cc", "gcc"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("postgres", "postgresql"),
    ("redis-server", "redis-server"),
    ("memcached", "memcached"),
    ("setpriv", "util-linux"),
    // Images are checked with common tools.
    ("sgdisk", "gdisk"),
    ("sfdisk", "fdisk"),
    ("mcopy", "mtools"),
    ("fsck.fat", "dosfstools"),
    ("resize2fs", "e2fsprogs"),
    ("cpio", "cpio"),
    ("zstd", "zstd"),
];

/// For chaos and soak runs.
pub const CHAOS: &[Need] = &[("cc", "gcc")];

/// For benchmarks: the other servers, and the load generator.
pub const BENCH: &[Need] = &[("cc", "gcc"), ("wrk", "wrk"), ("nginx", "nginx-light")];

/// For `bench postgres`.
pub const BENCH_POSTGRES: &[Need] = &[
    ("cc", "gcc"),
    ("wrk", "wrk"),
    ("postgres", "postgresql"),
    ("pgbench", "postgresql"),
    ("setpriv", "util-linux"),
];

/// For static programs, from the system's own packages.
pub const TOOLCHAIN: &[Need] = &[
    ("cc", "gcc"),
    ("musl-gcc", "musl-tools"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    // glibc for aarch64, with which tests that run in a guest are linked.
    ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"),
    ("qemu-aarch64-static", "qemu-user-static"),
];

/// The package of the kernel's source.
pub const KERNEL_PACKAGE: &str = "linux-source-6.12";
/// The archive in [`KERNEL_PACKAGE`].
pub const KERNEL_ARCHIVE: &str = "/usr/src/linux-source-6.12.tar.xz";

/// For building kernels.
pub const KERNEL: &[Need] = &[
    (KERNEL_ARCHIVE, KERNEL_PACKAGE),
    ("cc", "gcc"),
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("ccache", "ccache"),
    ("setpriv", "util-linux"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
];

/// QEMU for both architectures. If the system's packages are too old, [`crate::qemu`] installs those of Debian's
/// backports.
pub const QEMU: &[Need] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-system-aarch64", "qemu-system-arm"),
];

/// UEFI firmware for virtual machines.
pub const FIRMWARE: &[Need] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64"),
];

/// For making kits.
pub const KIT: &[Need] = &[("mke2fs", "e2fsprogs"), ("resize2fs", "e2fsprogs")];

/// For a device on a real network: servers for addresses, names and time, and the tools that set up the network.
pub const NETWORK: &[Need] = &[
    ("dnsmasq", "dnsmasq-base"),
    ("chronyd", "chrony"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
];

/// For the Raspberry Pi's device tree.
pub const PI: &[Need] = &[("fdtput", "device-tree-compiler")];

/// Services that some of these packages enable when they are installed, by package. Tests start their own servers, so
/// no test needs these.
pub const SERVICES: &[(&str, &[&str])] = &[
    ("postgresql", &["postgresql"]),
    ("redis-server", &["redis-server"]),
    ("memcached", &["memcached"]),
    ("chrony", &["chrony"]),
    ("nginx-light", &["nginx"]),
];
