//! Keys: hashes of everything that a product is made from, or that a test can see.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::needs::Need;
use crate::sh::said;
use crate::toolchain;

/// A hash of inputs. Equal keys mean equal inputs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// All 64 hexadecimal digits.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// The first 16 hexadecimal digits (64 bits), for file names.
    pub fn short(&self) -> &str {
        &self.0[..16]
    }
}

impl fmt::Display for Key {
    /// The first 8 digits, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..8])
    }
}

/// Collects the inputs of a [`Key`]. Their order matters.
#[derive(Clone)]
pub struct KeyBuilder(Sha256);

impl KeyBuilder {
    /// Creates a builder. `purpose` says what the key is for, so that two kinds of product never share a key.
    pub fn new(purpose: &str) -> KeyBuilder {
        KeyBuilder(Sha256::new()).add("purpose", purpose.as_bytes())
    }

    /// Adds a named input. Lengths are hashed, too, so that different lists of inputs have different keys.
    pub fn add(mut self, name: &str, bytes: &[u8]) -> KeyBuilder {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds the contents of a file.
    pub fn add_file(self, path: &Path) -> anyhow::Result<KeyBuilder> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.add("file", &bytes))
    }

    /// Adds the identity of a tool: its version, or the contents of its files.
    pub fn add_tool(self, tool: Tool) -> KeyBuilder {
        self.add(tool.name(), tool.identity().as_bytes())
    }

    /// Adds the versions of the Debian packages that `needs` names.
    pub fn add_packages(mut self, needs: &[Need]) -> KeyBuilder {
        for (_, package) in needs {
            let version = remember(package, || {
                said("dpkg-query", &["-W", "-f", "${Version}", package]).unwrap_or_default()
            });
            self = self.add(package, version.as_bytes());
        }
        self
    }

    /// Returns the key of everything that was added.
    pub fn finish(self) -> Key {
        Key(hex(&self.0.finalize()))
    }
}

/// Formats bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tool that compiles or runs tests, and that differs from machine to machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The Rust toolchain in use, the C compiler, and Cargo's settings from the environment.
    Rust,
    /// The nightly toolchain, the standard library's sources, and the C libraries for aarch64 and musl.
    StaticRust,
    /// The kernel of this host, on which host tests depend.
    HostKernel,
    /// QEMU for both architectures.
    Qemu,
    /// UEFI firmware for both architectures.
    Firmware,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Rust => "rust",
            Tool::StaticRust => "static rust",
            Tool::HostKernel => "host kernel",
            Tool::Qemu => "qemu",
            Tool::Firmware => "firmware",
        }
    }

    /// Returns a text that changes whenever the tool changes. Computed once per run.
    fn identity(self) -> String {
        remember(self.name(), || match self {
            Tool::Rust => {
                let config = std::env::home_dir().map(|home| home.join(".cargo/config.toml"));
                let config = config.and_then(|path| fs::read_to_string(path).ok());
                let flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"];
                let flags = flags.map(|name| std::env::var(name).unwrap_or_default());
                [
                    said("rustc", &["-vV"]).unwrap_or_default(),
                    said("cc", &["--version"]).unwrap_or_default(),
                    config.unwrap_or_default(),
                    flags.join("\n"),
                ]
                .join("\n")
            }
            Tool::StaticRust => toolchain::identity(),
            Tool::HostKernel => said("uname", &["-srm"]).unwrap_or_default(),
            Tool::Qemu => ["qemu-system-x86_64", "qemu-system-aarch64"]
                .map(|program| said(program, &["--version"]).unwrap_or_default())
                .join("\n"),
            Tool::Firmware => [
                "/usr/share/OVMF/OVMF_CODE_4M.fd",
                "/usr/share/OVMF/OVMF_VARS_4M.fd",
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/AAVMF/AAVMF_VARS.fd",
            ]
            .map(|path| hex(&Sha256::digest(fs::read(path).unwrap_or_default())))
            .join("\n"),
        })
    }
}

/// Returns the result of `find` from the first call with this name in this process.
fn remember(name: &str, find: impl FnOnce() -> String) -> String {
    static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let known = |map: &BTreeMap<String, String>| map.get(name).cloned();
    let lock = || {
        KNOWN
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    if let Some(text) = known(&lock()) {
        return text;
    }
    let text = find();
    lock().insert(name.to_owned(), text.clone());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_joined_otherwise_have_another_key() {
        let key = |inputs: &[(&str, &str)]| {
            let new = KeyBuilder::new("test");
            let add = |key: KeyBuilder, (name, text): &(&str, &str)| key.add(name, text.as_bytes());
            inputs.iter().fold(new, add).finish()
        };
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
        for other in [
            &[("ab", "")][..],
            &[("", "ab")],
            &[("a", "b"), ("", "")],
            &[("a", "c")],
        ] {
            assert_ne!(key(&[("a", "b")]), key(other), "{other:?}");
        }
        assert_ne!(key(&[]), KeyBuilder::new("other").finish());
    }

    #[test]
    fn a_key_has_64_digits_and_shows_8() {
        let key = KeyBuilder::new("test").finish();
        assert_eq!((key.full().len(), key.short().len()), (64, 16));
        assert_eq!(key.to_string(), key.full()[..8]);
    }
}
