//! Examines the disk that an image is to be written to, and refuses it if writing would be a mistake. Writes nothing.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::sys::stat::{major, minor};

use super::system::system;
use crate::table::bytes;

/// A disk, or a file that is used as a disk.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) bytes: u64,
    /// Lines that describe the disk: its maker, its partitions and the image on it.
    pub(crate) about: Vec<String>,
    /// Reasons not to write to the disk, which `--force` overrides.
    pub(crate) doubts: Vec<String>,
}

/// The directories in which the kernel describes disks and mounts: `/sys` and `/proc`, except in tests.
struct Kernel<'a> {
    sys: &'a Path,
    proc: &'a Path,
}

/// Examines the target. With `file` it must be a file, else a disk.
pub(crate) fn target(path: &Path, file: bool) -> anyhow::Result<Target> {
    let shown = path.display();
    let found = fs::metadata(path).with_context(|| format!("cannot look at {shown}"))?;
    let kind = found.file_type();
    if file {
        ensure!(
            kind.is_file(),
            "{shown} is no file, which is what --file is for"
        );
    } else {
        ensure!(
            !kind.is_file(),
            "{shown} is a file and no disk; --file writes to it anyway"
        );
        ensure!(kind.is_block_device(), "{shown} is no disk");
    }
    let mut target = match file {
        true => Target::default(),
        false => Kernel {
            sys: Path::new("/sys"),
            proc: Path::new("/proc"),
        }
        .look(path, &device(found.rdev()))?,
    };
    let mut opened = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    target.bytes = opened.seek(SeekFrom::End(0))?;
    if let Ok(system) = system(path) {
        let (version, board) = (system.version, system.board);
        target
            .about
            .push(format!("holds Hearth {version} for {board}"));
    }
    Ok(target)
}

fn device(number: u64) -> String {
    format!("{}:{}", major(number), minor(number))
}

fn word(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

impl Kernel<'_> {
    /// Examines a disk by its device number, such as `8:0`.
    fn look(&self, path: &Path, number: &str) -> anyhow::Result<Target> {
        let shown = path.display();
        let place = self.sys.join("dev/block").join(number);
        let place = place.canonicalize();
        let place = place.with_context(|| format!("the kernel does not tell of {shown}"))?;
        if place.join("partition").exists() {
            let whole = place.parent().and_then(Path::file_name).unwrap_or_default();
            bail!(
                "{shown} is a partition, and an image is a whole disk: /dev/{}",
                whole.display()
            );
        }
        let sector = word(&place.join("queue/logical_block_size"));
        if let Some(size) = sector.filter(|size| size != "512") {
            bail!("{shown} has sectors of {size} bytes, and images are for those of 512");
        }
        if word(&place.join("ro")).as_deref() == Some("1") {
            bail!("{shown} is write-protected");
        }
        let mut target = Target::default();
        let names = ["vendor", "model", "name"].map(|name| word(&place.join("device").join(name)));
        let names: Vec<String> = names.into_iter().flatten().collect();
        if !names.is_empty() {
            target.about.push(names.join(" "));
        }
        let parts = parts(&place);
        for (name, _, size) in &parts {
            target.about.push(format!("{name}, {}", bytes(*size)));
        }
        if !is_removable(&place) {
            target.doubts.push(format!(
                "{shown} is built into this machine: no card, and not on USB"
            ));
        }
        let mut numbers = vec![(shown.to_string(), number.to_owned())];
        numbers.extend(parts.into_iter().map(|(name, number, _)| (name, number)));
        for (name, number) in numbers {
            for used in self.uses(&number) {
                target.doubts.push(format!("{name} is {used}"));
            }
        }
        Ok(target)
    }

    /// How a disk or a partition is used: mounted, as swap, or as a part of another device.
    fn uses(&self, number: &str) -> Vec<String> {
        let mut uses = Vec::new();
        // Fields of mountinfo: mount id, parent id, device number, root, mount point (proc(5)).
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let [_, _, device, _, place, ..] = words[..]
                && device == number
            {
                uses.push(format!("mounted at {place}"));
            }
        }
        let swaps = fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        for line in swaps.lines().skip(1) {
            let path = line.split_whitespace().next().unwrap_or_default();
            let own = fs::metadata(path).map(|found| device(found.rdev()));
            if own.is_ok_and(|own| own == number) {
                uses.push("used as swap".to_owned());
            }
        }
        let holders = self.sys.join("dev/block").join(number).join("holders");
        for holder in fs::read_dir(holders).into_iter().flatten().flatten() {
            uses.push(format!("a part of {}", holder.file_name().display()));
        }
        uses
    }
}

/// Name, device number and size in bytes of each partition.
fn parts(place: &Path) -> Vec<(String, String, u64)> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut parts: Vec<_> = entries
        .filter_map(|entry| {
            let part: PathBuf = entry.path();
            word(&part.join("partition"))?;
            let sectors: u64 = word(&part.join("size"))?.parse().ok()?;
            let name = format!("/dev/{}", entry.file_name().display());
            Some((name, word(&part.join("dev"))?, sectors * 512))
        })
        .collect();
    parts.sort();
    parts
}

/// Whether a disk can be removed from this machine. Most card readers set `removable`. Cards on the kernel's MMC
/// driver and disks on USB do not: they are recognised by type and path.
fn is_removable(place: &Path) -> bool {
    let says = word(&place.join("removable")).as_deref() == Some("1");
    let is_card = word(&place.join("device/type")).as_deref() == Some("SD");
    let on_usb = place
        .components()
        .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
    says || is_card || on_usb
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Fake `/sys` and `/proc` directories that describe one disk with one partition.
    struct Told(PathBuf);

    impl Told {
        fn new(name: &str, disk: &str, files: &[(&str, &str)]) -> Told {
            let told =
                Told(std::env::temp_dir().join(format!("hearth-{name}-{}", std::process::id())));
            let own = told.0.join("sys/devices").join(disk);
            let mut all = vec![
                ("queue/logical_block_size", "512\n"),
                ("sdx1/partition", "1\n"),
                ("sdx1/size", "2048\n"),
                ("sdx1/dev", "8:17\n"),
            ];
            all.extend(files);
            for (file, text) in all {
                let file = own.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            fs::create_dir_all(told.0.join("sys/dev/block")).unwrap();
            fs::create_dir_all(told.0.join("proc/self")).unwrap();
            symlink(&own, told.0.join("sys/dev/block/8:16")).unwrap();
            symlink(own.join("sdx1"), told.0.join("sys/dev/block/8:17")).unwrap();
            told
        }

        fn look(&self, number: &str) -> anyhow::Result<Target> {
            let kernel = Kernel {
                sys: &self.0.join("sys"),
                proc: &self.0.join("proc"),
            };
            kernel.look(Path::new("/dev/sdx"), number)
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_stick_is_shown_and_raises_no_doubt() {
        let told = Told::new(
            "stick",
            "pci0/usb2/2-1/block/sdx",
            &[("device/model", "Stick\n")],
        );
        let target = told.look("8:16").unwrap();
        assert_eq!(target.about, ["Stick", "/dev/sdx1, 1.0 MiB"]);
        assert_eq!(target.doubts, Vec::<String>::new());
        let card = Told::new("card", "mmc0/block/sdx", &[("device/type", "SD\n")]);
        assert!(card.look("8:16").unwrap().doubts.is_empty());
    }

    #[test]
    fn what_is_built_in_mounted_or_a_part_of_something_is_doubted() {
        let told = Told::new("disk", "pci0/ata1/block/sdx", &[("removable", "0\n")]);
        let mounts = "22 1 8:17 / /home rw - ext4 /dev/sdx1 rw\n23 1 9:1 / / rw - ext4 x rw\n";
        fs::write(told.0.join("proc/self/mountinfo"), mounts).unwrap();
        let holder = told.0.join("sys/dev/block/8:17/holders/dm-0");
        fs::create_dir_all(holder).unwrap();
        assert_eq!(
            told.look("8:16").unwrap().doubts,
            [
                "/dev/sdx is built into this machine: no card, and not on USB",
                "/dev/sdx1 is mounted at /home",
                "/dev/sdx1 is a part of dm-0",
            ]
        );
    }

    #[test]
    fn partitions_and_disks_that_cannot_hold_an_image_are_refused() {
        let refused = |told: &Told, number| told.look(number).unwrap_err().to_string();
        let told = Told::new("part", "usb1/block/sdx", &[("ro", "1\n")]);
        let said = refused(&told, "8:17");
        assert!(
            said.ends_with("an image is a whole disk: /dev/sdx"),
            "{said}"
        );
        assert!(refused(&told, "8:16").ends_with("is write-protected"));
        assert!(refused(&told, "8:99").contains("does not tell of /dev/sdx"));
        let large = [("queue/logical_block_size", "4096\n")];
        let told = Told::new("large", "usb1/block/sdx", &large);
        assert!(refused(&told, "8:16").contains("sectors of 4096 bytes"));
    }
}
