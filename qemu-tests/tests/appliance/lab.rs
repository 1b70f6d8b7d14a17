//! What all tests share: the image, and the speed of machines on this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hearth_qemu_tests::{Arch, Speed};

/// The paths and settings of a test run. `place` holds machines, their disks and their logs.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) arch: Arch,
    pub(crate) speed: Speed,
    pub(crate) place: PathBuf,
    /// The board's kit, with the saboteur in its root file system.
    pub(crate) kit: PathBuf,
    /// The kit without the saboteur, as users have it.
    plain: PathBuf,
    /// The image with one function, `hello`.
    pub(crate) image: PathBuf,
    /// The kit's kernel, in the form that QEMU can start.
    pub(crate) kernel: PathBuf,
    hearth: PathBuf,
    /// The project's sources, where functions are built.
    pub(crate) source: PathBuf,
}

/// Reads an environment variable that `cargo xtask test devices` sets.
fn told(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("no {name}: run these tests by `cargo xtask test devices`"))
}

impl Lab {
    /// Returns the lab of this run.
    pub(crate) fn get() -> &'static Lab {
        static LAB: OnceLock<Lab> = OnceLock::new();
        LAB.get_or_init(|| Lab {
            arch: told("HEARTH_ARCH").parse().unwrap(),
            speed: Speed::known(told("HEARTH_SPEED").parse().unwrap()),
            place: told("HEARTH_PLACE").into(),
            kit: told("HEARTH_KIT").into(),
            plain: told("HEARTH_PLAIN_KIT").into(),
            image: told("HEARTH_IMAGE").into(),
            kernel: told("HEARTH_KERNEL").into(),
            hearth: told("HEARTH_PROGRAM").into(),
            source: told("HEARTH_SOURCE").into(),
        })
    }

    pub(crate) fn board(&self) -> String {
        format!("qemu-{}", self.arch.name())
    }

    /// Builds an image with the two functions of `examples/edge.yaml` as users would: without the saboteur.
    pub(crate) fn plain(&self) -> PathBuf {
        let image = self.place.join("plain.img");
        self.build_of(&self.plain, &self.source.join("examples/edge.yaml"), &image);
        image
    }

    /// Builds an image with the saboteur.
    pub(crate) fn build(&self, manifest: &Path, image: &Path) {
        self.build_of(&self.kit, manifest, image);
    }

    fn build_of(&self, kit: &Path, manifest: &Path, image: &Path) {
        fs::create_dir_all(&self.place).unwrap();
        let mut build = self.hearth(&["image", "build", "--board", &self.board()]);
        build.arg("--kit").arg(kit);
        build.arg("--manifest").arg(manifest);
        build.arg("--output").arg(image);
        let built = build.output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
    }

    /// Returns a command that runs the host's `hearth`.
    pub(crate) fn hearth(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.hearth);
        command.args(words);
        command
    }
}
