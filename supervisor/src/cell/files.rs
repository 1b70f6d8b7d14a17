//! The file system of a sandbox: an empty one in memory, into which everything in the plan is mounted at its path
//! outside. The program is mounted at the plan's `shown`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use hearth_sys::mount::{Attributes, Tree};

use super::{Access, Plan};

/// Where the new root is mounted for a moment. Every system has this directory.
const STAGE: &str = "/proc";

/// Bytes and inodes of the root file system without a `/tmp`: enough for the mount points.
const ROOT: (u64, u64) = (64 << 10, 1024);

/// Inodes of the root file system with a `/tmp`. The limit prevents many small files from using more kernel memory than
/// their size.
const TMP_INODES: u64 = 4096;

/// Mode of `/tmp`. The sandbox has only one user.
const TMP_MODE: u32 = 0o700;

/// Makes the file system and changes to it. `user` owns `/tmp`. Paths in the plan that the machine does not have are
/// left out.
///
/// # Errors
/// The error of the system, with the path or the step that it concerns.
pub(super) fn enter(plan: &Plan, user: (u32, u32)) -> Result<(), (String, io::Error)> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error| (path, error)
    };
    let here = |what: &'static str| move |error| (what.to_owned(), error);
    // Mounts are copied while the old root is visible, and attached after the change to the new one.
    let mut taken = Vec::new();
    for reach in &plan.files {
        let path = &reach.path;
        let Ok(file) = fs::metadata(path) else {
            continue;
        };
        let tree = Tree::copy(path).map_err(at(path))?;
        tree.restrict(attributes(reach.to)).map_err(at(path))?;
        taken.push((path, file.is_dir(), tree));
    }
    let program = Tree::copy(&plan.program).map_err(at(&plan.program))?;
    let sealed = Attributes::NO_PRIVILEGE.and(Attributes::READ_ONLY);
    program.restrict(sealed).map_err(at(&plan.program))?;
    taken.push((&plan.shown, false, program));

    // One file system for everything that is written: each further one would take a tenth of the time of this function.
    let (size, inodes) = match plan.tmp {
        0 => ROOT,
        tmp => (ROOT.0 + tmp, TMP_INODES),
    };
    let (size, inodes) = (size.to_string(), inodes.to_string());
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", &inodes),
        ("mode", "755"),
    ];
    let root = Tree::memory(&options, Attributes::NO_PRIVILEGE)
        .map_err(here("a file system in memory"))?;
    root.enter(Path::new(STAGE))
        .map_err(here("the root directory"))?;
    if plan.tmp > 0 {
        make_tmp(Path::new("/tmp"), user).map_err(here("/tmp"))?;
    }
    for (path, is_directory, tree) in &taken {
        make_place(path, *is_directory).map_err(at(path))?;
        tree.attach(path).map_err(at(path))?;
    }
    make_place(&plan.directory, true).map_err(at(&plan.directory))?;
    let still = Attributes::READ_ONLY.and(Attributes::NO_EXEC);
    root.restrict_alone(still)
        .map_err(here("the root directory"))?;
    std::env::set_current_dir(&plan.directory).map_err(at(&plan.directory))
}

/// The only directory of the root file system that stays writable after the root becomes read-only, because it is a
/// separate mount.
fn make_tmp(path: &Path, user: (u32, u32)) -> io::Result<()> {
    fs::DirBuilder::new().mode(TMP_MODE).create(path)?;
    chown(path, Some(user.0), Some(user.1))?;
    let tmp = Tree::copy(path)?;
    tmp.restrict(Attributes::NO_EXEC)?;
    tmp.attach(path)
}

fn attributes(to: Access) -> Attributes {
    let least = Attributes::NO_PRIVILEGE;
    match to {
        Access::Read | Access::Connect => least.and(Attributes::READ_ONLY).and(Attributes::NO_EXEC),
        Access::Execute => least.and(Attributes::READ_ONLY),
        Access::Write => least.and(Attributes::NO_EXEC),
        Access::Device => Attributes::NO_EXEC,
    }
}

/// Makes the mount point, unless it exists in a directory that is mounted already.
fn make_place(path: &Path, is_directory: bool) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if is_directory {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).map(drop)
}
