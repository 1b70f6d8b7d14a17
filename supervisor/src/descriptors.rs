//! The limit of open files. Each connection needs one file, and each worker several files of its supervisor.

use std::{fs, io};

use nix::libc::EMFILE;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A limit that is enough. More than a million only slows down programs that examine each possible descriptor.
const ENOUGH: u64 = 1 << 20;

/// Raises the limit of open files of this process as far as useful and allowed. Children inherit the limit.
pub(crate) fn raise() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    // Root may have as many as the kernel allows any process (nr_open, proc_sys_fs(5)). The first process of a system
    // gets 4,096, which 800 workers use up.
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most: Option<u64> = most.and_then(|text| text.trim().parse().ok());
    let most = most.unwrap_or(hard);
    let wanted = most.min(ENOUGH).max(hard.min(most));
    let own = hard.min(most);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, own, hard);
    }
}

/// The text of an error. If the limit of open files is the cause, the text names it and how to raise it.
pub(crate) fn explained(error: &io::Error) -> String {
    match (error.raw_os_error(), getrlimit(Resource::RLIMIT_NOFILE)) {
        (Some(EMFILE), Ok((soft, _))) => format!(
            "{error}: the platform may have {soft} open files; `ulimit -Hn`, LimitNOFILE of its service, or as root \
             the kernel's fs.nr_open gives more"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_named() {
        raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft == hard || soft >= ENOUGH, "{soft} {hard}");
        let text = explained(&io::Error::from_raw_os_error(EMFILE));
        assert!(
            text.contains(&format!("may have {soft} open files")),
            "{text}"
        );
        let other = io::Error::from_raw_os_error(nix::libc::ENOENT);
        assert_eq!(explained(&other), other.to_string());
    }
}
