//! Attacks on files.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::{Command, Stdio};

use nix::libc;

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[
    ("read", read),
    ("list", list),
    ("write", write),
    ("create", create),
    ("fill", fill),
    ("many files", many_files),
    ("execute", execute),
    ("execute copy", execute_copy),
    ("device", device),
    ("inherited", inherited),
    ("leave root", leave_root),
];

fn read(order: &Order) -> Done {
    let mut begin = [0; 64];
    let count = File::open(order.text("path"))?.read(&mut begin)?;
    Ok(format!("{count} bytes"))
}

fn list(order: &Order) -> Done {
    let entries = fs::read_dir(order.text("path"))?.flatten();
    let names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    Ok(names.join(" "))
}

/// Opens an existing file for writing, and leaves it unchanged.
fn write(order: &Order) -> Done {
    let path = order.text("path");
    OpenOptions::new().append(true).open(path)?.write_all(b"")?;
    Ok(format!("{path} can be written"))
}

fn create(order: &Order) -> Done {
    let path = order.text("path");
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(b"here")?;
    fs::remove_file(path)?;
    Ok(format!("{path} was made"))
}

/// Writes the requested number of bytes.
fn fill(order: &Order) -> Done {
    let path = order.text("path");
    let piece = vec![1; 64 * 1024];
    let mut file = File::create(path)?;
    let mut written = 0;
    let result = loop {
        if written >= order.number("bytes") {
            break Ok(format!("{written} bytes"));
        }
        match file.write(&piece) {
            Ok(count) => written += count as u64,
            Err(error) => break Err(error),
        }
    };
    fs::remove_file(path)?;
    result
}

/// Creates the requested number of empty files.
fn many_files(order: &Order) -> Done {
    let base = order.text("path");
    let names: Vec<String> = (0..order.number("count"))
        .map(|number| format!("{base}/many-{number}"))
        .collect();
    let made = names
        .iter()
        .try_for_each(|name| File::create(name).map(drop));
    names.iter().for_each(|name| {
        let _ = fs::remove_file(name);
    });
    made.map(|()| format!("{} files", names.len()))
}

fn execute(order: &Order) -> Done {
    let mut program = Command::new(order.text("path"));
    // There may be no null device to open.
    program.stdin(Stdio::inherit());
    let output = program.args(["act", r#"{"act":"who"}"#]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Executes a copy of a program.
fn execute_copy(order: &Order) -> Done {
    let path = order.text("path");
    let copied = fs::copy(order.text("from"), path).and_then(|_| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        execute(order)
    });
    let _ = fs::remove_file(path);
    copied
}

/// Creates the device node of memory (`/dev/mem`).
fn device(order: &Order) -> Done {
    let path = CString::new(order.text("path"))?;
    let number = libc::makedev(1, 1);
    // SAFETY: the path is a C string that outlives the call.
    match unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, number) } {
        0 => {
            fs::remove_file(order.text("path"))?;
            Ok("a device".to_owned())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lists open descriptors that a worker should not have: all except sockets, pipes and, without `all`, descriptor 0.
/// A worker has its control socket and data sockets.
fn inherited(order: &Order) -> Done {
    let all = order.0["all"] == true;
    let mut open = Vec::new();
    for fd in 0..256 {
        // SAFETY: this queries the flags of a number; zeroed memory is a valid `stat`.
        let (flags, mode) = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            let flags = libc::fcntl(fd, libc::F_GETFD);
            (
                flags,
                (libc::fstat(fd, &raw mut stat) == 0).then_some(stat.st_mode),
            )
        };
        let kind = mode.map(|mode| mode & libc::S_IFMT);
        let of_worker = matches!(kind, Some(libc::S_IFSOCK | libc::S_IFIFO)) || (fd == 0 && !all);
        if flags >= 0 && !of_worker {
            open.push(format!("{fd}: {mode:?}"));
        }
    }
    match open.is_empty() {
        true => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        false => Ok(open.join(", ")),
    }
}

/// Leaves the root directory through a directory that stays open (chroot(2), NOTES).
fn leave_root(order: &Order) -> Done {
    let directory = OpenOptions::new()
        .read(true)
        // O_PATH is not an access for reading, so no rule checks it.
        .custom_flags(libc::O_DIRECTORY | libc::O_PATH)
        .open("/")?;
    let inner = order.text("inner");
    fs::create_dir_all(inner)?;
    let left = (|| {
        std::os::unix::fs::chroot(inner)?;
        nix::unistd::fchdir(&directory)?;
        Ok("out".to_owned())
    })();
    let _ = fs::remove_dir(inner);
    left
}
