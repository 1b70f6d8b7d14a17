//! From the initramfs into a tmpfs, and that made read only.
//!
//! The kernel unpacks the initramfs into a root that can be neither left by pivot_root(2), which cells need, nor
//! unmounted. So everything moves into a tmpfs, which is then moved over the root: what switch_root(8) does.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot, execv};

use super::{ActError, file};

/// Where the new root is while it is filled.
const NEW: &str = "/new-root";

/// What this program is told by itself that it has moved.
pub const MOVED: &str = "--moved";

/// Moves, and starts this program anew from where it is then: the kernel frees a file of the initramfs only
/// when nobody runs it.
///
/// # Errors
/// Any, since nothing returns otherwise.
pub fn move_over() -> Result<Infallible, ActError> {
    fs::create_dir(NEW).map_err(file("make", NEW))?;
    let (kind, flags) = ("tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    // All of memory: what is in it already is in the initramfs, and it is read only soon.
    mount(
        Some(kind),
        NEW,
        Some(kind),
        flags,
        Some("mode=0755,size=100%"),
    )
    .map_err(|errno| file("mount", NEW)(errno.into()))?;
    let device = fs::metadata("/").map_err(file("look at", "/"))?.dev();
    move_all(Path::new("/"), Path::new(NEW), device)?;
    let call = |attempt| {
        move |errno: nix::Error| ActError::Call {
            attempt,
            source: errno.into(),
        }
    };
    chdir(NEW).map_err(call("enter the new root"))?;
    let (none, here) = (None::<&str>, MsFlags::MS_MOVE);
    mount(Some("."), "/", none, here, none).map_err(call("move the new root"))?;
    chroot(".").map_err(call("change the root"))?;
    chdir("/").map_err(call("enter the new root"))?;
    let [program, moved] = ["/init", MOVED].map(CString::new);
    let (Ok(program), Ok(moved)) = (program, moved) else {
        return Err(ActError::Missing("a path has a NUL".to_owned()));
    };
    execv(&program, &[&program, &moved]).map_err(|errno| file("start", "/init")(errno.into()))
}

/// Moves what is in one directory into another. Memory has room for each file twice, not for all.
fn move_all(from: &Path, to: &Path, device: u64) -> Result<(), ActError> {
    for entry in fs::read_dir(from).map_err(file("list", from))? {
        let entry = entry.map_err(file("list", from))?;
        move_one(&entry.path(), &to.join(entry.file_name()), device)?;
    }
    Ok(())
}

fn move_one(from: &Path, to: &Path, device: u64) -> Result<(), ActError> {
    let found = fs::symlink_metadata(from).map_err(file("look at", from))?;
    if found.dev() != device {
        // What is mounted there is mounted anew; the place must be there.
        return match found.is_dir() && from != Path::new(NEW) {
            true => fs::create_dir(to).map_err(file("make", to)),
            false => Ok(()),
        };
    }
    let (kind, owner) = (found.file_type(), (Some(found.uid()), Some(found.gid())));
    if kind.is_symlink() {
        let target = fs::read_link(from).map_err(file("read", from))?;
        symlink(target, to).map_err(file("make", to))?;
        lchown(to, owner.0, owner.1).map_err(file("own", to))?;
        return fs::remove_file(from).map_err(file("remove", from));
    }
    if kind.is_dir() {
        fs::create_dir(to).map_err(file("make", to))?;
        move_all(from, to, device)?;
    } else if kind.is_file() {
        fs::copy(from, to).map_err(file("copy", from))?;
        fs::remove_file(from).map_err(file("remove", from))?;
    } else {
        // Devices come with devtmpfs.
        return Ok(());
    }
    chown(to, owner.0, owner.1).map_err(file("own", to))?;
    let mode = fs::Permissions::from_mode(found.mode() & 0o7777);
    fs::set_permissions(to, mode).map_err(file("set the mode of", to))
}

/// Makes the root read only. What is written on an appliance is written below /run, /tmp and /data.
pub fn seal() -> Result<(), ActError> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|errno| file("remount", "/")(errno.into()))
}
