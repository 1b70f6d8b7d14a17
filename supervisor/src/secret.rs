//! Values of secrets: from the files of a directory, or else from the environment that the supervisor was started
//! with. This module prints no value.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Maximum size of a value in bytes. Keys, tokens, addresses with passwords and certificate chains are far smaller.
const LARGEST: u64 = 64 * 1024;

/// The directory that contains the values.
#[derive(Clone, Debug)]
pub struct Secrets(PathBuf);

/// Why a secret has no value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret is not set.
    #[error(
        "there is none: neither the file {0} nor an environment variable of that name; \
         `hearth secret set` makes it"
    )]
    Missing(PathBuf),
    /// Its file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// The value is not UTF-8 or too large, or its path does not lead to a file.
    #[error("{place} is {what}")]
    Bad {
        /// The file, or the environment variable.
        place: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Secrets {
    /// The secrets in this directory, which need not exist.
    pub fn of(directory: PathBuf) -> Secrets {
        Secrets(directory)
    }

    /// The file of a secret.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The value of a secret. One line break at the end of a file is not part of it.
    pub fn value(&self, name: &str) -> Result<String, SecretError> {
        let path = self.path(name);
        match read(&path) {
            Ok(mut value) => {
                if value.ends_with('\n') {
                    value.pop();
                }
                Ok(value)
            }
            Err(SecretError::Read(_, error)) if error.kind() == ErrorKind::NotFound => {
                match std::env::var_os(name).map(std::ffi::OsString::into_string) {
                    Some(Ok(value)) => Ok(value),
                    Some(Err(_)) => Err(SecretError::Bad {
                        place: format!("the environment variable {name}"),
                        what: "not UTF-8",
                    }),
                    None => Err(SecretError::Missing(path)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a value that only its owner can read. The file is replaced in one step, so that no reader sees a part of
    /// it.
    pub fn set(&self, name: &str, value: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let fresh = self.0.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(value)?;
        file.sync_all()?;
        fs::rename(fresh, self.path(name))
    }

    /// Deletes a value; `false` if it does not exist.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The names of the secrets that have a file.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

fn read(path: &Path) -> Result<String, SecretError> {
    let failed = |error| SecretError::Read(path.to_owned(), error);
    let bad = |what| SecretError::Bad {
        place: path.display().to_string(),
        what,
    };
    // Checked before the file is opened: opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(bad("not a file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(bad("larger than 64 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| bad("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_value_is_kept_for_its_owner_read_without_its_line_break_and_forgotten() {
        let directory = std::env::temp_dir().join(format!("hearth-secrets-{}", std::process::id()));
        let secrets = Secrets::of(directory.clone());
        assert_eq!(secrets.names().unwrap(), Vec::<String>::new());
        secrets.set("a", b"one\n").unwrap();
        secrets.set("a", b"two\n\n").unwrap();
        assert_eq!(secrets.value("a").unwrap(), "two\n");
        assert_eq!(secrets.names().unwrap(), ["a"]);
        let mode = fs::metadata(secrets.path("a"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(secrets.remove("a").unwrap());
        assert!(!secrets.remove("a").unwrap());
        assert!(matches!(secrets.value("a"), Err(SecretError::Missing(_))));
        assert!(!secrets.value("PATH").unwrap().is_empty());

        secrets.set("b", &[0xff]).unwrap();
        secrets.set("c", &[b'x'; LARGEST as usize + 1]).unwrap();
        fs::create_dir(secrets.path("d")).unwrap();
        for (name, what) in [("b", "not UTF-8"), ("c", "larger"), ("d", "not a file")] {
            let error = secrets.value(name).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
