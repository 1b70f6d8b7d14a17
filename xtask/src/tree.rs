//! The project's files as the inputs of tests and products: the files that a part of the test run can see.
//!
//! A part names the packages that it tests. It sees their files, those of every workspace package that they depend
//! on, every `Cargo.toml`, and all files that belong to no package, such as the kernel's configuration. It sees
//! documents only if it names them. So a new file is an input of every part unless `DOCUMENTS` names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::key::{KeyBuilder, hex};
use crate::sh::cargo_program;

/// Files that a part sees only if it names them: changing them changes no program and no test.
const DOCUMENTS: &[&str] = &[
    ".editorconfig",
    ".github/",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "deny.toml",
    "docs/",
];

/// The project's packages, and every file that Git tracks or would track, with the hash of its contents and mode.
#[derive(Clone, Debug)]
pub struct Tree {
    files: BTreeMap<String, String>,
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Cargo's name of the package.
    pub name: String,
    /// The package's directory below the root, without a trailing slash.
    pub directory: String,
    /// The workspace packages that it depends on, including development and build dependencies.
    pub dependencies: Vec<String>,
    /// The package's targets that can have tests.
    pub targets: Vec<Target>,
}

/// A target that can have tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Cargo's name of the target.
    pub name: String,
    /// The kind of target.
    pub kind: Kind,
    /// Whether `cargo test` runs its tests.
    pub tested: bool,
    /// Whether `cargo test --doc` runs its documentation examples.
    pub documented: bool,
}

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A library.
    Library,
    /// A program.
    Program,
    /// An example.
    Example,
    /// An integration test.
    Test,
}

impl Kind {
    /// Parses Cargo's name of a kind.
    pub fn from_cargo(word: &str) -> Option<Kind> {
        match word {
            "lib" | "rlib" | "proc-macro" => Some(Kind::Library),
            "bin" => Some(Kind::Program),
            "example" => Some(Kind::Example),
            "test" => Some(Kind::Test),
            _ => None,
        }
    }
}

/// The files that a part can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Packages, including those that they depend on.
    pub packages: Vec<String>,
    /// Documents, and files of other packages. A directory ends with a slash.
    pub files: Vec<String>,
}

impl Scope {
    /// Creates a scope of these packages.
    pub fn new(packages: &[&str]) -> Scope {
        Scope {
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
            files: Vec::new(),
        }
    }

    /// Adds documents, or files of other packages.
    pub fn with_files(mut self, files: &[&str]) -> Scope {
        self.files
            .extend(files.iter().map(|name| (*name).to_owned()));
        self
    }
}

impl Tree {
    /// Reads the project at `root`.
    pub fn read(root: &Path) -> anyhow::Result<Tree> {
        let packages = packages(root)?;
        let files = files(root)?;
        Ok(Tree { files, packages })
    }

    /// Returns the same packages with the current files.
    pub fn read_again(&self, root: &Path) -> anyhow::Result<Tree> {
        let packages = self.packages.clone();
        let files = files(root)?;
        Ok(Tree { files, packages })
    }

    /// All packages of the workspace.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The paths of all files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Returns these packages and all packages that they depend on.
    pub fn with_dependencies<'a>(&'a self, names: &'a [String]) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            if found.insert(name) {
                let package = self.packages.iter().find(|one| one.name == name);
                let dependencies = package.map(|one| one.dependencies.as_slice());
                open.extend(dependencies.unwrap_or_default().iter().map(String::as_str));
            }
        }
        found
    }

    /// Returns the files that a part with this scope sees.
    pub fn seen<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a str> {
        let packages = self.with_dependencies(&scope.packages);
        self.files().filter(move |file| {
            let named = |path: &String| is_below(file, path);
            match self.owner(file) {
                _ if scope.files.iter().any(named) => true,
                // Cargo resolves features for the whole workspace.
                Some(_) if file.ends_with("Cargo.toml") => true,
                Some(owner) => packages.contains(owner.name.as_str()),
                None => !DOCUMENTS.iter().any(|document| is_below(file, document)),
            }
        })
    }

    /// Adds the files that a part with this scope sees to a key.
    ///
    /// # Errors If the scope names a package or a file that does not exist.
    pub fn add_to(&self, mut key: KeyBuilder, scope: &Scope) -> anyhow::Result<KeyBuilder> {
        for name in &scope.packages {
            let exists = self.packages.iter().any(|package| package.name == *name);
            ensure!(exists, "unknown package {name}");
        }
        for name in &scope.files {
            let exists = self.files().any(|file| is_below(file, name));
            ensure!(exists, "no such file: {name}");
        }
        for file in self.seen(scope) {
            key = key.add(file, self.files[file].as_bytes());
        }
        Ok(key)
    }

    /// Returns the package that a file belongs to: the one with the longest directory above it.
    pub fn owner(&self, file: &str) -> Option<&Package> {
        let all = self.packages.iter();
        let above = all.filter(|package| is_below(file, &format!("{}/", package.directory)));
        above.max_by_key(|package| package.directory.len())
    }
}

/// Returns whether a file is `path`, or below it if `path` ends with a slash.
fn is_below(file: &str, path: &str) -> bool {
    match path.ends_with('/') {
        true => file.starts_with(path),
        false => file == path,
    }
}

/// Returns the hash of each file.
fn files(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for name in listed(root)? {
        // A file that Git lists may have been deleted from the work tree.
        if let Some(digest) = digest(&root.join(&name))? {
            files.insert(name, digest);
        }
    }
    Ok(files)
}

/// Returns the files that Git tracks or does not ignore.
fn listed(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "git cannot list the files of {}: a test run needs a Git work tree",
        root.display()
    );
    let names = output.stdout.split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8(name.to_vec()).context("a file's name is not UTF-8"))
        .collect()
}

/// Returns the hash of a file's contents and kind, or `None` if the file does not exist.
fn digest(path: &Path) -> anyhow::Result<Option<String>> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(None);
    };
    let mut hash = Sha256::new();
    if metadata.is_symlink() {
        hash.update(b"link");
        hash.update(fs::read_link(path)?.as_os_str().as_bytes());
    } else if metadata.is_file() {
        // Git stores only whether a file is executable.
        let executable = metadata.permissions().mode() & 0o100 != 0;
        hash.update([u8::from(executable)]);
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(bytes);
    } else {
        return Ok(None);
    }
    Ok(Some(hex(&hash.finalize())))
}

fn packages(root: &Path) -> anyhow::Result<Vec<Package>> {
    let output = Command::new(cargo_program())
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed");
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let workspace = metadata["workspace_root"].as_str().unwrap_or_default();
    let all = metadata["packages"].as_array().into_iter().flatten();
    all.map(|package| package_from(package, workspace).context("cargo metadata is not understood"))
        .collect()
}

fn package_from(package: &Value, workspace: &str) -> Option<Package> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let directory = manifest.parent()?.strip_prefix(workspace).ok()?;
    let dependencies = package["dependencies"].as_array()?.iter();
    let local = dependencies.filter(|one| one["path"].is_string());
    let targets = package["targets"].as_array()?.iter();
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        directory: directory.to_str()?.to_owned(),
        dependencies: local
            .filter_map(|one| Some(one["name"].as_str()?.to_owned()))
            .collect(),
        targets: targets.filter_map(target_from).collect(),
    })
}

/// Parses a target. Returns `None` for kinds that cannot have tests.
fn target_from(target: &Value) -> Option<Target> {
    Some(Target {
        name: target["name"].as_str()?.to_owned(),
        kind: Kind::from_cargo(target["kind"][0].as_str()?)?,
        tested: target["test"].as_bool()?,
        documented: target["doctest"].as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::sh::root;

    fn package(name: &str, directory: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            directory: directory.to_owned(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            targets: Vec::new(),
        }
    }

    fn small() -> Tree {
        let files = [
            "Cargo.lock",
            "Cargo.toml",
            "README.md",
            "a/Cargo.toml",
            "a/inner/Cargo.toml",
            "a/inner/src/lib.rs",
            "a/src/lib.rs",
            "b/Cargo.toml",
            "b/README.md",
            "b/src/lib.rs",
            "buildroot/kernel.config",
            "docs/b.md",
        ];
        Tree {
            files: files.map(|file| (file.to_owned(), file.to_owned())).into(),
            packages: vec![
                package("a", "a", &["b"]),
                package("b", "b", &[]),
                package("inner", "a/inner", &[]),
            ],
        }
    }

    /// Returns `None` if the scope names something that does not exist.
    fn key(tree: &Tree, scope: &Scope) -> Option<Key> {
        let key = tree.add_to(KeyBuilder::new("test"), scope);
        key.ok().map(KeyBuilder::finish)
    }

    #[test]
    fn a_part_sees_its_packages_their_dependencies_and_what_belongs_to_none() {
        let seen = |names: &[&str], documents: &[&str]| {
            let scope = Scope::new(names).with_files(documents);
            small()
                .seen(&scope)
                .filter(|file| !file.contains("Cargo"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            seen(&["b"], &[]),
            "b/README.md b/src/lib.rs buildroot/kernel.config"
        );
        assert_eq!(
            seen(&["a"], &[]),
            "a/src/lib.rs b/README.md b/src/lib.rs buildroot/kernel.config"
        );
        assert_eq!(
            seen(&["inner"], &["docs/"]),
            "a/inner/src/lib.rs buildroot/kernel.config docs/b.md"
        );
    }

    #[test]
    fn a_changed_byte_in_any_file_that_a_part_sees_makes_a_new_key_and_in_no_other() {
        let tree = Tree::read(&root()).unwrap();
        let scope = Scope::new(&["hearth-gateway"]).with_files(&["docs/limits.md"]);
        let seen: BTreeSet<&str> = tree.seen(&scope).collect();
        assert!(seen.contains("protocol/src/lib.rs") && seen.contains("docs/limits.md"));
        assert!(!seen.contains("supervisor/src/lib.rs") && !seen.contains("README.md"));
        let before = key(&tree, &scope);
        assert!(before.is_some());
        for file in tree.files() {
            let mut changed = tree.clone();
            changed.files.insert(file.to_owned(), "other".to_owned());
            let same = key(&changed, &scope) == before;
            assert_eq!(same, !seen.contains(file), "{file}");
            changed.files.remove(file);
            let same = key(&changed, &scope) == before;
            assert_eq!(same, !seen.contains(file), "{file} removed");
        }
    }

    #[test]
    fn content_mode_and_kind_of_a_file_are_parts_of_its_hash() {
        let place = std::env::temp_dir().join(format!("hearth-tree-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let file = place.join("file");
        let mut digests = BTreeSet::new();
        for content in ["", "a", "b"] {
            for mode in [0o644, 0o755] {
                fs::write(&file, content).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                digests.insert(digest(&file).unwrap().unwrap());
            }
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(digest(&file).unwrap(), None);
        std::os::unix::fs::symlink("a", &file).unwrap();
        digests.insert(digest(&file).unwrap().unwrap());
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(digests.len(), 7);
    }

    #[test]
    fn unknown_names_in_a_scope_are_errors() {
        let tree = small();
        for scope in [
            Scope::new(&["c"]),
            Scope::new(&["a"]).with_files(&["docs/c.md"]),
        ] {
            assert!(tree.add_to(KeyBuilder::new("test"), &scope).is_err());
        }
    }
}
