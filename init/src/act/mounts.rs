//! File systems put in their places, and taken away again at the end.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{ActError, data, file};
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
    writable(|wish| {
        let written = File::create(wish).and_then(|mut file| {
            file.write_all(b"begun\n")?;
            file.sync_all()
        });
        written.map_err(file("write", wish))
    })
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
    // A file system with a fault is used no more; the next boot repairs it. The kernel would only warn.
    let faults = || ActError::Disk(format!("{device} has recorded faults"));
    if data::has_faults(partition)? {
        return Err(faults());
    }
    let options = Some("errors=remount-ro");
    mount(Some(&*device), DATA, Some("ext4"), DATA_FLAGS, options)
        .map_err(|errno| file("mount", &device)(errno.into()))?;
    // One that stood in the journal alone is known only now.
    if data::has_faults(partition)? {
        unmount(DATA)?;
        return Err(faults());
    }
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
