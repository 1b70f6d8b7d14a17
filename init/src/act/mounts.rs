//! File systems put in their places, and taken away again at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{ActError, data, file, text};
use crate::place::{BOOT, DATA, Mount, RESET};

/// Mounts one of the table. What is mounted already, by the kernel, is as good.
pub fn of_table(one: &Mount) -> Result<(), ActError> {
    // What is optional has its place in sysfs, or is not to be had.
    if !Path::new(one.place).is_dir() {
        if !one.needed {
            return Err(ActError::Missing(format!(
                "the kernel has no {}",
                one.place
            )));
        }
        fs::create_dir_all(one.place).map_err(file("make", one.place))?;
        let mode = fs::Permissions::from_mode(one.mode);
        fs::set_permissions(one.place, mode).map_err(file("set the mode of", one.place))?;
    }
    let options = Some(one.options).filter(|options| !options.is_empty());
    match mount(
        Some(one.kind),
        one.place,
        Some(one.kind),
        one.flags,
        options,
    ) {
        Ok(()) | Err(nix::Error::EBUSY) => Ok(()),
        Err(errno) => Err(file("mount", one.place)(errno.into())),
    }
}

const ESP: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Mounts the selector's partition, read only; whether a factory reset is asked for there.
pub fn esp(partition: &str) -> Result<bool, ActError> {
    let device = format!("/dev/{partition}");
    let flags = ESP | MsFlags::MS_RDONLY;
    let options = Some("umask=0077,utf8");
    mount(Some(&*device), BOOT, Some("vfat"), flags, options)
        .map_err(|errno| file("mount", &device)(errno.into()))?;
    // Another thing of that name could not be removed, and would be a wish at every boot.
    Ok(Path::new(BOOT).join(RESET).is_file())
}

/// Writes to the file that asks for a factory reset, on its partition: who can do that can remove it.
pub fn try_reset() -> Result<(), ActError> {
    writable(|wish| fs::write(wish, "begun\n").map_err(file("write", wish)))
}

/// Removes it.
pub fn clear_reset() -> Result<(), ActError> {
    writable(|wish| fs::remove_file(wish).map_err(file("remove", wish)))
}

/// Does something to the file while its partition can be written.
fn writable(act: impl FnOnce(&Path) -> Result<(), ActError>) -> Result<(), ActError> {
    let remount = |flags: MsFlags| {
        let none = None::<&str>;
        mount(none, BOOT, none, ESP | MsFlags::MS_REMOUNT | flags, none)
            .map_err(|errno| file("remount", BOOT)(errno.into()))
    };
    remount(MsFlags::empty())?;
    let done = act(&Path::new(BOOT).join(RESET));
    nix::unistd::sync();
    remount(MsFlags::MS_RDONLY)?;
    done
}

/// What data lets nobody do. Programs are executed from there: deployed functions.
const DATA_FLAGS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOATIME);

/// Mounts data; whether a factory reset is asked for there.
pub fn data(partition: &str) -> Result<bool, ActError> {
    let device = format!("/dev/{partition}");
    // A file system with a fault is written to no more; the next boot repairs it. The kernel would only warn.
    if data::has_faults(partition)? {
        return Err(ActError::Disk(format!("{device} has recorded faults")));
    }
    let options = Some("errors=remount-ro");
    mount(Some(&*device), DATA, Some("ext4"), DATA_FLAGS, options)
        .map_err(|errno| file("mount", &device)(errno.into()))?;
    Ok(Path::new(crate::place::SYSTEM).join(RESET).exists())
}

/// Mounts memory in data's place: a quarter of it, so that what is kept there cannot end the machine.
pub fn memory_as_data() -> Result<(), ActError> {
    let options = Some("mode=0755,size=25%");
    mount(Some("tmpfs"), DATA, Some("tmpfs"), DATA_FLAGS, options)
        .map_err(|errno| file("mount", DATA)(errno.into()))
}

/// Unmounts it.
pub fn unmount(place: &str) -> Result<(), ActError> {
    umount2(place, MntFlags::empty()).map_err(|errno| file("unmount", place)(errno.into()))
}

/// Unmounts it, or at least lets nothing more be written to it.
pub fn unmount_or_seal(place: &str) -> Result<(), ActError> {
    let Err(error) = unmount(place) else {
        return Ok(());
    };
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let none = None::<&str>;
    mount(none, place, none, flags, none).map_err(|_| error)
}

/// What is mounted somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// It takes what is written.
    Writable,
    /// It takes no more.
    ReadOnly,
}

/// What is mounted at a place, if anything is.
pub fn mounted(place: &str) -> Option<Mounted> {
    find(&text("/proc/self/mounts", 64 * 1024)?, place)
}

/// In the kernel's list, where of several at one place the last is seen.
fn find(mounts: &str, place: &str) -> Option<Mounted> {
    let mut lines = mounts.lines().rev().map(|line| line.split(' '));
    let mut words = lines.find(|words| words.clone().nth(1) == Some(place))?;
    let mut options = words.nth(3)?.split(',');
    match options.any(|option| matches!(option, "ro" | "emergency_ro")) {
        true => Some(Mounted::ReadOnly),
        false => Some(Mounted::Writable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_takes_writes_or_not() {
        let mounts =
            "tmpfs / tmpfs ro,size=1 0 0\n/dev/vda5 /data ext4 rw,noatime,errors=remount-ro 0 0\n";
        assert_eq!(find(mounts, "/data"), Some(Mounted::Writable));
        assert_eq!(find(mounts, "/"), Some(Mounted::ReadOnly));
        assert_eq!(find(mounts, "/boot"), None);
        for fault in ["ro,noatime", "rw,emergency_ro"] {
            let faulty = format!("{mounts}/dev/vda5 /data ext4 {fault} 0 0\n");
            assert_eq!(find(&faulty, "/data"), Some(Mounted::ReadOnly), "{fault}");
        }
    }
}
