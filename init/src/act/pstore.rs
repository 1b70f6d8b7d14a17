//! What the last kernel said before it died (Documentation/ABI/testing/pstore of the kernel): kept on data, and
//! removed from where it was, since the firmware's variables are few.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ActError, bytes, file, replace};

const FROM: &str = "/sys/fs/pstore";
const TO: &str = "/data/system/pstore";

/// So many are kept, the newest, ...
const KEPT: usize = 32;
/// ... each of at most so many bytes (the kernel's own are of 64 KiB at most).
const LONGEST: u64 = 64 * 1024;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// So many records were moved.
    pub records: usize,
    /// The line that says why the kernel died, if one of them does.
    pub panic: Option<String>,
}

/// Moves all of them. `stamp` sets those of one boot apart.
pub fn drain(stamp: u64) -> Result<Found, ActError> {
    let mut found = Found::default();
    for path in list(Path::new(FROM))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What is longer than can be is not kept, and goes all the same.
        if let Some(record) = bytes(&path, LONGEST) {
            let text = String::from_utf8_lossy(&record);
            found.panic = found.panic.or_else(|| reason(&text));
            replace(Path::new(TO).join(format!("{stamp}-{name}")), &record)?;
        }
        fs::remove_file(&path).map_err(file("remove", &path))?;
        found.records += 1;
    }
    // Stamps have as many digits as seconds since 1970 have: names are in the order of time.
    let kept = list(Path::new(TO))?;
    for old in &kept[..kept.len().saturating_sub(KEPT)] {
        fs::remove_file(old).map_err(file("remove", old))?;
    }
    Ok(found)
}

fn list(place: &Path) -> Result<Vec<PathBuf>, ActError> {
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        // Not every board has it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("list", place)(error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// The line of a kernel's log that says why it died.
pub fn reason(text: &str) -> Option<String> {
    const SIGNS: [&str; 4] = ["Kernel panic", "BUG:", "Oops", "Unable to handle kernel"];
    let line = SIGNS
        .iter()
        .find_map(|sign| text.lines().find(|line| line.contains(sign)))?;
    // `<0>[   12.345678] Kernel panic - ...`
    let said = line.split_once("] ").map_or(line, |(_, said)| said);
    Some(said.trim().chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_kernels_last_words_have_a_reason() {
        let text = "Panic#1 Part1\n<4>[    1.0] BUG: at x\n<0>[   12.345678] Kernel panic - not syncing: why\n<4>[ 12.4] CPU: 0\n";
        assert_eq!(
            reason(text).as_deref(),
            Some("Kernel panic - not syncing: why")
        );
        assert_eq!(reason("<6>[    1.0] all is well\n"), None);
    }
}
