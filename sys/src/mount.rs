//! Mounts that are made apart and put in their place when they are ready (the calls that came with Linux
//! 5.2 and 5.12), and a root directory made of them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{fchdir, pivot_root};

/// Of `linux/mount.h` and `linux/fcntl.h`, where the C library's headers are older.
mod kernel {
    pub(super) const OPEN_TREE_CLONE: u32 = 1;
    pub(super) const AT_RECURSIVE: u32 = 0x8000;
    pub(super) const AT_EMPTY_PATH: u32 = 0x1000;
    pub(super) const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
    pub(super) const FSOPEN_CLOEXEC: u32 = 1;
    pub(super) const FSMOUNT_CLOEXEC: u32 = 1;
    pub(super) const FSCONFIG_SET_STRING: u32 = 1;
    pub(super) const FSCONFIG_CMD_CREATE: u32 = 6;
}

/// What cannot be done by way of a mount (mount_setattr(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// Nothing gains privileges by being executed, and devices are none.
    pub const NO_PRIVILEGE: Attributes = Attributes(2 | 4);
    /// Nothing is written.
    pub const READ_ONLY: Attributes = Attributes(1);
    /// Nothing is executed.
    pub const NO_EXEC: Attributes = Attributes(8);

    /// Both.
    pub const fn and(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }
}

/// A mount that is not in its place yet, or stays open after that.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// A copy of what is seen at `path`: a file, or a directory with all that is mounted in it.
    pub fn copy(path: &Path) -> io::Result<Tree> {
        let path = c_path(path)?;
        let flags = kernel::OPEN_TREE_CLONE | kernel::AT_RECURSIVE | libc::O_CLOEXEC as u32;
        // SAFETY: the path is a C string that outlives the call; a descriptor comes back.
        let fd =
            unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
        Ok(Tree(owned(fd)?))
    }

    /// An empty file system in memory with these options (tmpfs(5)).
    pub fn memory(options: &[(&str, &str)], attributes: Attributes) -> io::Result<Tree> {
        // SAFETY: all texts are C strings that outlive their calls; descriptors come back, of which
        // each is owned at once.
        unsafe {
            let name = c"tmpfs".as_ptr();
            let context = owned(libc::syscall(
                libc::SYS_fsopen,
                name,
                kernel::FSOPEN_CLOEXEC,
            ))?;
            let context = context.as_raw_fd();
            for (key, value) in options {
                let (key, value) = (CString::new(*key)?, CString::new(*value)?);
                let set = kernel::FSCONFIG_SET_STRING;
                let (key, value) = (key.as_ptr(), value.as_ptr());
                done(libc::syscall(
                    libc::SYS_fsconfig,
                    context,
                    set,
                    key,
                    value,
                    0,
                ))?;
            }
            let (create, none) = (kernel::FSCONFIG_CMD_CREATE, std::ptr::null::<u8>());
            done(libc::syscall(
                libc::SYS_fsconfig,
                context,
                create,
                none,
                none,
                0,
            ))?;
            let cloexec = kernel::FSMOUNT_CLOEXEC;
            let fd = libc::syscall(libc::SYS_fsmount, context, cloexec, attributes.0);
            Ok(Tree(owned(fd)?))
        }
    }

    /// Adds to what cannot be done by way of it, and of what is mounted in it.
    pub fn restrict(&self, attributes: Attributes) -> io::Result<()> {
        self.set(attributes, kernel::AT_RECURSIVE)
    }

    /// Adds to what cannot be done by way of it, but for what is mounted in it.
    pub fn restrict_alone(&self, attributes: Attributes) -> io::Result<()> {
        self.set(attributes, 0)
    }

    fn set(&self, attributes: Attributes, depth: u32) -> io::Result<()> {
        /// `struct mount_attr`: set, clear, propagation, user namespace.
        #[repr(C)]
        struct MountAttr(u64, u64, u64, u64);
        let attr = MountAttr(attributes.0, 0, 0, 0);
        let flags = kernel::AT_EMPTY_PATH | depth;
        let (fd, here) = (self.0.as_raw_fd(), c"".as_ptr());
        let (attr, size) = (&raw const attr, size_of::<MountAttr>());
        // SAFETY: the structure has the kernel's layout and outlives the call.
        done(unsafe { libc::syscall(libc::SYS_mount_setattr, fd, here, flags, attr, size) })
    }

    /// Puts it over what is at `path`.
    pub fn attach(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let (fd, here, path) = (self.0.as_raw_fd(), c"".as_ptr(), path.as_ptr());
        let (cwd, flags) = (libc::AT_FDCWD, kernel::MOVE_MOUNT_F_EMPTY_PATH);
        // SAFETY: both texts are C strings that outlive the call.
        done(unsafe { libc::syscall(libc::SYS_move_mount, fd, here, cwd, path, flags) })
    }

    /// Makes it the root directory of this process, whose mount namespace must be its own; all that is
    /// mounted elsewhere is gone from it. `stage` is some directory that exists: there it stands for a
    /// moment.
    pub fn enter(&self, stage: &Path) -> io::Result<()> {
        // What is mounted elsewhere from now on must not come here, nor the other way round.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        self.attach(stage)?;
        fchdir(&self.0)?;
        // The old root is put over the new one and taken away from there (pivot_root(2), NOTES).
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        Ok(nix::unistd::chdir("/")?)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn done(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the call has just made this descriptor, and nothing else knows its number.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
