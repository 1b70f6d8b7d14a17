//! The files that a manifest adds to an image: the manifest, its programs, and the files that it names, at the same
//! paths below `/factory`. Files outside the manifest's directory are not added: an absolute path results in a note,
//! a relative one in an error.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use hearth_image::kit::{Node, Tree};
use hearth_manifest::Manifest;

use crate::build::Built;

/// The manifest's file name in every image.
const MANIFEST: &str = "edge.yaml";

/// The files below `/factory`, and notes on what the device itself must have.
#[derive(Debug, Default)]
pub(crate) struct Factory {
    pub(crate) files: Tree,
    /// The paths in `files` of the functions' programs.
    programs: BTreeSet<String>,
    /// Lines for the user who builds the image.
    pub(crate) notes: Vec<String>,
}

/// Collects the files. `text` is the manifest unchanged, `base` its directory.
pub(crate) fn factory(
    manifest: &Manifest,
    text: Vec<u8>,
    base: &Path,
    built: &[Built],
) -> anyhow::Result<Factory> {
    let mut factory = Factory::default();
    factory.add(MANIFEST.to_owned(), Node::File(0o644, text))?;
    for one in built {
        let function = &manifest.functions[&one.function];
        let path = inside(&function.binary).with_context(|| {
            format!(
                "functions.{}.binary: {} is outside the manifest's directory, of which an image is made: \
                 move it there",
                one.function,
                function.binary.display()
            )
        })?;
        let bytes = read(&one.place)?;
        factory.add(path.clone(), Node::File(0o755, bytes))?;
        factory.programs.insert(path);
    }
    for (name, function) in &manifest.functions {
        for path in &function.sandbox.read {
            factory.bring(base, path, &format!("functions.{name}.sandbox.read"))?;
        }
        for path in &function.sandbox.write {
            let place = format!("functions.{name}.sandbox.write");
            if path.is_relative() {
                bail!(
                    "{place}: {} is beside the manifest, where an appliance can write nothing: name a directory \
                     below /data",
                    path.display()
                );
            }
            // A missing directory below /data is created. Elsewhere on the device, a directory can be neither created
            // nor written.
            if !path.starts_with("/data") {
                factory.must_have(path, &place)?;
            }
        }
    }
    for (index, certificate) in manifest.gateway.tls.certificates.iter().enumerate() {
        let place = |key| format!("gateway.tls.certificates[{index}].{key}");
        factory.bring(base, &certificate.cert, &place("cert"))?;
        factory.bring(base, &certificate.key, &place("key"))?;
        if inside(&certificate.key).is_some() {
            factory.notes.push(format!(
                "the image has a private key in it: {}",
                certificate.key.display()
            ));
        }
    }
    let secrets: Vec<&str> = manifest.secrets().collect();
    if !secrets.is_empty() {
        factory.notes.push(format!(
            "secrets to be set on the device, for no image has them: {}",
            secrets.join(", ")
        ));
    }
    Ok(factory)
}

impl Factory {
    /// Adds a file, or a directory with everything in it.
    fn bring(&mut self, base: &Path, path: &Path, place: &str) -> anyhow::Result<()> {
        self.bring_below(&mut Vec::new(), base, path, place)
    }

    /// As `bring`. `above` are the real paths of the directories that lead here, to detect a link that leads back to
    /// one.
    fn bring_below(
        &mut self,
        above: &mut Vec<PathBuf>,
        base: &Path,
        path: &Path,
        place: &str,
    ) -> anyhow::Result<()> {
        let Some(name) = inside(path) else {
            return self.must_have(path, place);
        };
        let from = base.join(path);
        let shown = || format!("{place}: cannot read {}", from.display());
        let found = fs::metadata(&from).with_context(shown)?;
        let leads = from.canonicalize().with_context(shown)?;
        ensure!(
            leads.starts_with(base.canonicalize().with_context(shown)?),
            "{place}: {} leads out of the manifest's directory, to {}",
            from.display(),
            leads.display()
        );
        if found.is_file() {
            // The program that was built for this processor has been added already.
            if self.programs.contains(&name) {
                return Ok(());
            }
            let mode = found.permissions().mode() & 0o755 | 0o444;
            return self.add(name, Node::File(mode, read(&from)?));
        }
        ensure!(
            found.is_dir(),
            "{place}: {} is neither a file nor a directory",
            from.display()
        );
        ensure!(
            !above.contains(&leads),
            "{place}: {} leads in a circle, to {}",
            from.display(),
            leads.display()
        );
        above.push(leads);
        self.add(name, Node::Directory(0o755))?;
        for entry in fs::read_dir(&from).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            self.bring_below(above, base, &path.join(entry.file_name()), place)?;
        }
        above.pop();
        Ok(())
    }

    /// Notes an absolute path that must exist on the device. Fails for a relative path, which no device can have.
    fn must_have(&mut self, path: &Path, place: &str) -> anyhow::Result<()> {
        let shown = path.display();
        ensure!(
            path.to_str().is_some(),
            "{place}: {shown} has a name that is not UTF-8"
        );
        if path.components().all(|part| part == Component::CurDir) {
            bail!("{place}: {shown} is the manifest's whole directory: name what of it is needed");
        }
        if path.is_relative() {
            bail!(
                "{place}: {shown} is outside the manifest's directory, of which an image is made: move it \
                 there"
            );
        }
        self.notes.push(format!(
            "{place}: {shown} must be on the device; no image brings it"
        ));
        Ok(())
    }

    fn add(&mut self, path: String, node: Node) -> anyhow::Result<()> {
        match self.files.get(&path) {
            // Two functions may share a program, or a file.
            Some(there) if *there == node => Ok(()),
            Some(Node::File(mode, bytes)) => match node {
                // A program that another function reads stays executable.
                Node::File(other, same) if same == *bytes => {
                    let mode = mode | other;
                    self.files.insert(path, Node::File(mode, same));
                    Ok(())
                }
                _ => bail!("{path} would be in the image twice, and differently"),
            },
            Some(_) => bail!("{path} would be in the image twice, and differently"),
            None => {
                self.files.insert(path, node);
                Ok(())
            }
        }
    }
}

/// The path in the manifest's directory without `.` and `..`; `None` if the path is that directory or leads out of
/// it.
fn inside(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_the_manifest_is_inside() {
        let inside = |path: &str| inside(Path::new(path));
        assert_eq!(inside("bin/a").as_deref(), Some("bin/a"));
        assert_eq!(inside("./bin/../a").as_deref(), Some("a"));
        for outside in ["../a", "a/../../b", "/etc/a", ".", "a/.."] {
            assert_eq!(inside(outside), None, "{outside}");
        }
    }
}
