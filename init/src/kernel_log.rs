//! The kernel's log (`/dev/kmsg`), where everything that init says goes, and from there to every console.

use std::fs::{File, OpenOptions};
use std::io::Write;

/// How important a line is, as the kernel counts (syslog(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something may not work.
    Warning = 4,
    /// What consoles show: what init does.
    Notice = 5,
    /// What they do not: what children print.
    Info = 6,
}

/// What consoles show: everything up to notices (the first number of `/proc/sys/kernel/printk` is the first
/// level that they do not).
const SHOWN: &str = "6";

/// The longest text of a line: the kernel refuses records of more than 1024 bytes less its own prefix.
const LONGEST: usize = 900;

/// The log, open.
#[derive(Debug)]
pub struct KernelLog {
    file: Option<File>,
    name: &'static str,
}

impl KernelLog {
    /// Opens it; without `/dev/kmsg` all that is said goes to stderr, which the kernel gives PID 1 as the
    /// console. `name` begins every line.
    pub fn open(name: &'static str) -> KernelLog {
        let file = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        KernelLog { file, name }
    }

    /// Sees that nothing said here is left out for being much, and that consoles show it. Needs `/proc`.
    pub fn unlock() {
        // Where it fails, less is seen. This file wants its line ended.
        let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
        let _ = std::fs::write("/proc/sys/kernel/printk", SHOWN);
    }

    /// Says a text, line by line.
    pub fn say(&mut self, level: Level, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let record = record(level, self.name, line);
            // Nobody could be told that nobody can be told.
            let _ = match &mut self.file {
                Some(file) => file.write_all(record.as_bytes()),
                None => std::io::stderr().write_all(record.as_bytes()),
            };
        }
    }

    /// Says what init does.
    pub fn notice(&mut self, text: &str) {
        self.say(Level::Notice, text);
    }

    /// Says what does not work.
    pub fn error(&mut self, text: &str) {
        self.say(Level::Error, text);
    }
}

/// A record as `/dev/kmsg` takes it (Documentation/ABI/testing/dev-kmsg of the kernel). What could move a
/// terminal's cursor is taken out.
fn record(level: Level, name: &str, line: &str) -> String {
    let mut text = String::new();
    for letter in line.chars() {
        if text.len() + letter.len_utf8() > LONGEST {
            break;
        }
        text.push(if letter.is_control() { ' ' } else { letter });
    }
    format!("<{}>{name}: {}\n", level as u8, text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_bounded_line_of_plain_text() {
        assert_eq!(
            record(Level::Notice, "init", "up \x1b[2J"),
            "<5>init: up  [2J\n"
        );
        let long = record(Level::Error, "init", &"ä".repeat(2000));
        assert!(
            long.len() <= LONGEST + 11 && long.ends_with("ä\n"),
            "{}",
            long.len()
        );
    }
}
