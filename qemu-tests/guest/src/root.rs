//! Sets up the root file system: a tmpfs with the contents of the initramfs, and the file systems that programs
//! expect.
//!
//! The kernel unpacks the initramfs into a root that pivot_root(2) cannot leave and that cannot be unmounted.
//! Sandboxes need pivot_root, so everything is moved into a tmpfs, which is then moved over the root, as
//! switch_root(8) does.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

/// The mount point of the new root while it is filled.
const NEW: &str = "/new-root";

/// A file system: type, mount point, mode, mount flags, and its own options.
type Furniture = (&'static str, &'static str, u32, MsFlags, &'static str);

/// The strictest flags. Each file system allows no more than its users need.
const STRICT: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

const FURNITURE: &[Furniture] = &[
    ("proc", "/proc", 0o555, STRICT, ""),
    ("sysfs", "/sys", 0o555, STRICT, ""),
    (
        "devtmpfs",
        "/dev",
        0o755,
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "mode=0755",
    ),
    (
        "devpts",
        "/dev/pts",
        0o755,
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "mode=0620,ptmxmode=0666",
    ),
    ("tmpfs", "/dev/shm", 0o1777, STRICT, "mode=1777"),
    (
        "tmpfs",
        "/run",
        0o755,
        MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        "mode=0755",
    ),
    ("tmpfs", "/tmp", 0o1777, MsFlags::MS_NODEV, "mode=1777"),
    (
        "cgroup2",
        "/sys/fs/cgroup",
        0o755,
        STRICT,
        "nsdelegate,memory_recursiveprot",
    ),
];

/// Moves from the initramfs into a tmpfs.
pub(crate) fn change() -> anyhow::Result<()> {
    fs::create_dir(NEW)?;
    // Programs keep the setuid bit, because a test needs one that works.
    mount(
        Some("tmpfs"),
        NEW,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .with_context(|| format!("cannot mount {NEW}"))?;
    let device = fs::metadata("/")?.dev();
    move_all(Path::new("/"), Path::new(NEW), device)?;
    chdir(NEW)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("cannot move the new root")?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

/// Moves a directory's contents. Memory can hold each single file twice, but not all files twice.
fn move_all(from: &Path, to: &Path, device: u64) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        move_one(&from, &to, device).with_context(|| format!("cannot move {}", from.display()))?;
    }
    Ok(())
}

fn move_one(from: &Path, to: &Path, device: u64) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.dev() != device {
        return Ok(());
    }
    let (kind, owner) = (found.file_type(), (Some(found.uid()), Some(found.gid())));
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        lchown(to, owner.0, owner.1)?;
        fs::remove_file(from)?;
        return Ok(());
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
        move_all(from, to, device)?;
    } else if kind.is_file() {
        fs::copy(from, to)?;
        fs::remove_file(from)?;
    } else {
        // Device nodes come with devtmpfs.
        return Ok(());
    }
    // The owner first, because changing the owner clears the setuid bit.
    chown(to, owner.0, owner.1)?;
    fs::set_permissions(to, fs::Permissions::from_mode(found.mode() & 0o7777))?;
    Ok(())
}

/// Mounts the file systems that programs expect.
pub(crate) fn furnish() -> anyhow::Result<()> {
    for (kind, place, mode, flags, options) in FURNITURE {
        let furnished = (|| {
            if !Path::new(place).is_dir() {
                fs::create_dir(place)?;
                fs::set_permissions(place, fs::Permissions::from_mode(*mode))?;
            }
            let options = Some(*options).filter(|options| !options.is_empty());
            mount(Some(*kind), *place, Some(*kind), *flags, options)?;
            anyhow::Ok(())
        })();
        furnished.with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    Ok(())
}
