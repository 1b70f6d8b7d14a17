//! What all tests share: the image, and how fast machines are here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hearth_qemu_tests::{Arch, Speed};

/// Where machines, their disks and their logs are.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) arch: Arch,
    pub(crate) speed: Speed,
    pub(crate) place: PathBuf,
    /// A board's kit, and in its root what breaks things.
    pub(crate) kit: PathBuf,
    /// The same as everyone has it.
    plain: PathBuf,
    /// The image with one function, `hello`, whose answers count.
    pub(crate) image: PathBuf,
    /// The kit's kernel, as QEMU can start it.
    pub(crate) kernel: PathBuf,
    hearth: PathBuf,
    /// The project's sources, where functions are built.
    pub(crate) source: PathBuf,
}

/// What `cargo xtask test devices` says in the environment.
fn told(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("no {name}: run these tests by `cargo xtask test devices`"))
}

impl Lab {
    /// The one of this run.
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

    /// An image with the two functions of `examples/edge.yaml`, as everyone would have it: nothing breaks things there.
    pub(crate) fn plain(&self) -> PathBuf {
        let image = self.place.join("plain.img");
        self.build_of(&self.plain, &self.source.join("examples/edge.yaml"), &image);
        image
    }

    /// Builds an image.
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

    /// The host's `hearth`.
    pub(crate) fn hearth(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.hearth);
        command.args(words);
        command
    }
}
