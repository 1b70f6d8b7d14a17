//! Tests of the command `hearth image`, with a small kit.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "all of this is tests, which Clippy sees only in the functions marked as such"
)]

mod flash;
#[path = "../../../image/tests/kit/mod.rs"]
mod kit;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hearth_image::layout::{Role, span};
use hearth_image::uki::Uki;
use hearth_image::{Board, Firmware, fat};
use serde_json::Value;

use kit::{Scratch, noise, tree};

/// The board for which this machine builds programs without further tools.
pub(crate) fn board() -> Board {
    match std::env::consts::ARCH {
        "x86_64" => Board::QemuX86_64,
        "aarch64" => Board::QemuAarch64,
        other => panic!("{other}"),
    }
}

const MANIFEST: &str = r#"
service: test
functions:
  compiled:
    routes: [{ path: / }]
    binary: bin/compiled
    build: { command: "cc -static -s -o \"$HEARTH_BINARY\" worker.c" }
    env: { KEY: { secret: api_key } }
    sandbox: { read: [pages] }
  script:
    routes: [{ path: /script }]
    binary: scripts/say
    build: { command: "true" }
"#;

/// A project with a kit, in a temporary directory.
pub(crate) struct Project(pub(crate) Scratch);

impl Project {
    pub(crate) fn new() -> Project {
        let scratch = Scratch::new();
        let write = |path: &str, text: &str| {
            let path = scratch.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("edge.yaml", MANIFEST);
        write("worker.c", "int main(void) { return 7; }\n");
        write("scripts/say", "#!/bin/sh\necho hello\n");
        write("pages/a/index.html", "<p>hello\n");
        write("device.yaml", "hostname: kitchen\n");
        kit::write(&scratch.path("test.kit"), &tree(&scratch, board()));
        Project(scratch)
    }

    /// A command of `hearth image` in the project's directory, which the caller starts.
    pub(crate) fn image(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.args(["image", verb]).args(args);
        command.current_dir(&self.0.0).stdin(Stdio::null());
        command
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("HEARTH_KIT");
        command
    }

    pub(crate) fn build(&self, more: &[&str]) -> Output {
        let board = board().to_string();
        let mut args = vec!["--board", &board, "--kit", "test.kit"];
        args.extend(more);
        self.image("build", &args).output().unwrap()
    }

    /// Builds an image of the project. Returns its path.
    pub(crate) fn built(&self) -> PathBuf {
        let output = self.build(&[]);
        assert!(output.status.success(), "{}", err(&output));
        self.0.path("edge.img")
    }
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files of a built image's root file system, as cpio lists them.
fn listed(image: &Path) -> String {
    let bytes = fs::read(image).unwrap();
    let slot = span(Role::SlotA, Firmware::Uefi);
    let slot = &bytes[slot.start as usize..slot.end() as usize];
    let uki = fat::read(slot, "hearth.efi").unwrap();
    let initramfs = Uki::parse(&uki)
        .unwrap()
        .section(".initrd")
        .unwrap()
        .unwrap();
    let packed = image.with_extension("zst");
    fs::write(&packed, initramfs).unwrap();
    let list = format!("zstd -dc {} | cpio -tv --quiet", packed.display());
    kit::run("sh", &["-c", &list])
}

#[test]
fn functions_are_built_and_lie_where_the_manifest_says() {
    let project = Project::new();
    let output = project.build(&["--device", "device.yaml", "--name-version", "7"]);
    let said = err(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "building compiled: cc -static",
        "secrets to be set on the device, for no image has them: api_key",
        "scripts/say is a script: what runs it must be there, too",
        "edge.img is ready: `hearth image run edge.img`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let table = out(&output);
    for part in [
        "PART",
        "kernel",
        "  /factory/bin/compiled",
        "root file system, compressed",
        "% of 16.0 MiB",
        "image",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let files = listed(&project.0.path("edge.img"));
    for (mode, path) in [
        ("-rwxr-xr-x", "factory/bin/compiled"),
        ("-rwxr-xr-x", "factory/scripts/say"),
        ("-rw-r--r--", "factory/pages/a/index.html"),
        ("-rw-r--r--", "factory/edge.yaml"),
        ("-rw-r--r--", "etc/hearth/device.yaml"),
        ("-rwxr-xr-x", "init"),
    ] {
        let line = files
            .lines()
            .find(|line| line.ends_with(&format!(" {path}")));
        let line = line.unwrap_or_else(|| panic!("{path}: {files}"));
        assert!(line.starts_with(mode), "{line}");
    }
    // No temporary file is left beside the image.
    let beside = fs::read_dir(&project.0.0).unwrap();
    let left = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".new")
    });
    assert_eq!(left.count(), 0);
}

/// A line without its numbers and units, and with the names of this test's files.
fn shape(line: &str) -> String {
    let is_figure = |word: &&str| {
        let unit = matches!(*word, "B" | "KiB" | "MiB" | "%");
        !unit && word.parse::<f64>().is_err()
    };
    let words: Vec<&str> = line.split_whitespace().filter(is_figure).collect();
    let line = words.join(" ").replace("hello", "compiled");
    line.replace("compiled.c", "worker.c")
}

#[test]
fn the_document_shows_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/image.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, block) = text.split_once("$ hearth image build").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let output = Project::new().build(&[]);
    let printed = err(&output) + &out(&output);
    let printed: Vec<String> = printed.lines().map(shape).collect();
    // Skip the files, which are those of another kit, and the way of building, which may differ on another machine.
    let lines = block
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("  ") && !line.starts_with("for "));
    let mut seen = 0;
    for line in lines {
        assert!(printed.contains(&shape(line)), "{line}: {printed:#?}");
        seen += 1;
    }
    assert!(seen > 10, "{block}");
}

#[test]
fn two_builds_in_other_places_at_other_times_are_equal() {
    let projects = [Project::new(), Project::new()];
    let first = projects[0].built();
    // With another working directory and file name, and with other times and modes of the files.
    let touched = "find . -exec touch -d 2001-01-01 {} + && chmod 600 pages/a/index.html edge.yaml";
    let mut touch = Command::new("sh");
    let touched = touch
        .args(["-c", touched])
        .current_dir(&projects[1].0.0)
        .status();
    assert!(touched.unwrap().success());
    let at = |name: &str| projects[1].0.path(name).display().to_string();
    let (manifest, kit, output) = (at("edge.yaml"), at("test.kit"), at("other.img"));
    let board = board().to_string();
    let output = projects[1]
        .image(
            "build",
            &[
                "--board",
                &board,
                "--manifest",
                &manifest,
                "-o",
                &output,
                "--json",
            ],
        )
        .env("HEARTH_KIT", kit)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let second = projects[1].0.path("other.img");
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());

    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["board"], board);
    assert_eq!(told["file"], second.to_str().unwrap());
    assert_eq!(told["image"], fs::metadata(&second).unwrap().len());
    assert!(told["slot_used"].as_u64() < told["slot_size"].as_u64());
    assert_eq!(told["parts"][0]["name"], "kernel");

    // `SOURCE_DATE_EPOCH` changes the image, and `--no-build` uses the existing programs.
    let mut dated = projects[0].image("build", &["--board", &board, "--no-build"]);
    dated
        .env("HEARTH_KIT", at("test.kit"))
        .env("SOURCE_DATE_EPOCH", "1800000000");
    let output = dated.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert!(!err(&output).contains("building"), "{}", err(&output));
    let dated = fs::read(&first).unwrap();
    assert!(dated != fs::read(&second).unwrap());
}

#[test]
fn what_is_wrong_is_said_and_no_image_is_made() {
    let project = Project::new();
    let check = |status: i32, output: Output, part: &str| {
        let said = err(&output);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(part), "{part}: {said}");
        assert!(!project.0.path("edge.img").exists());
    };
    let write = |path: &str, text: &str| fs::write(project.0.path(path), text).unwrap();
    // The errors of both files are printed, each with its position.
    write("bad.yaml", "service: test\nfunktions: {}\n");
    write("bad-device.yaml", "hostnam: kitchen\n");
    let bad = || project.build(&["--manifest", "bad.yaml", "--device", "bad-device.yaml"]);
    check(2, bad(), "bad.yaml:2:1");
    check(2, bad(), "bad-device.yaml:1:1");

    let board = board().to_string();
    let mut none = project.image("build", &["--board", &board]);
    none.env("XDG_CACHE_HOME", project.0.path("cache"));
    let kit = format!("`cargo xtask kit {board}`");
    check(1, none.output().unwrap(), &kit);
    let mut broken = project.image("build", &["--board", &board, "--kit", "worker.c"]);
    check(
        1,
        broken.output().unwrap(),
        "the kit worker.c cannot be unpacked",
    );
    let other = ["--board", "rpi4", "--kit", "test.kit"];
    let other = project.image("build", &other).output().unwrap();
    check(1, other, &format!("is the kit of {board}, and not of rpi4"));

    write("edge.yaml", &MANIFEST.replace("[pages]", "[../pages]"));
    check(
        1,
        project.build(&[]),
        "functions.compiled.sandbox.read: ../pages is outside",
    );
    for (sandbox, link, to, part) in [
        (
            "read: [.]",
            None,
            "",
            "sandbox.read: . is the manifest's whole directory",
        ),
        (
            "write: [kept]",
            None,
            "",
            "sandbox.write: kept is beside the manifest",
        ),
        (
            "read: [pages]",
            Some("pages/a/b"),
            "..",
            "pages/a/b leads in a circle, to ",
        ),
        (
            "read: [pages]",
            Some("pages/out"),
            "/etc",
            "pages/out leads out of the manifest's directory, to /etc",
        ),
    ] {
        write("edge.yaml", &MANIFEST.replace("read: [pages]", sandbox));
        let link = link.map(|link| project.0.path(link));
        if let Some(link) = &link {
            symlink(to, link).unwrap();
        }
        check(1, project.build(&[]), part);
        if let Some(link) = &link {
            fs::remove_file(link).unwrap();
        }
    }
    let nowhere = ["--board", &board, "-o", "nowhere/edge.img"];
    let nowhere = project.image("build", &nowhere).output().unwrap();
    check(
        1,
        nowhere,
        "there is no directory nowhere, for nowhere/edge.img",
    );
    write("edge.yaml", &MANIFEST.replace("-static ", ""));
    check(
        1,
        project.build(&[]),
        "needs shared libraries, which the appliance does not have",
    );
    write("edge.yaml", &MANIFEST.replace("cc -static", "false"));
    check(
        1,
        project.build(&[]),
        "functions.compiled.build.command failed",
    );
    write("edge.yaml", MANIFEST);
    fs::write(project.0.path("pages/large"), noise(17 << 20)).unwrap();
    let large = project.build(&[]);
    let said = err(&large);
    check(1, large, "a slot has room for");
    let line = said
        .lines()
        .find(|line| line.contains("/factory/pages/large"));
    assert!(
        line.is_some_and(|line| line.ends_with("17.0 MiB")),
        "{said}"
    );
    let mut into = project.image("build", &["--board", &board, "-o", "/dev/null"]);
    check(
        1,
        into.output().unwrap(),
        "/dev/null is no file; `hearth image flash`",
    );
}

#[test]
fn what_cannot_be_run_here_is_said() {
    let project = Project::new();
    let mut run = project.image("run", &["worker.c"]);
    let output = run.output().unwrap();
    assert!(!output.status.success());
    assert!(err(&output).contains("worker.c is not an image of an appliance"));
    kit::write(&project.0.path("pi.kit"), &tree(&project.0, Board::Rpi4));
    fs::write(
        project.0.path("only-script.yaml"),
        "service: test\nfunctions: { a: { routes: [{ path: / }], binary: scripts/say } }\n",
    )
    .unwrap();
    let args = [
        "--board",
        "rpi4",
        "--kit",
        "pi.kit",
        "--no-build",
        "--manifest",
        "only-script.yaml",
    ];
    let output = project.image("build", &args).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    // The output does not offer `hearth image run` either.
    let ready = "edge.img is ready: `hearth image flash edge.img DISK` writes it to a disk";
    assert!(err(&output).contains(ready), "{}", err(&output));
    let output = project.image("run", &["edge.img"]).output().unwrap();
    assert!(err(&output).contains("QEMU has no firmware of a Raspberry Pi"));
    // QEMU is not in `PATH`.
    let image = project.built();
    let mut run = project.image("run", &[image.to_str().unwrap()]);
    let output = run.env("PATH", "/nonexistent").output().unwrap();
    let said = err(&output);
    assert!(
        said.contains("qemu-system-") && said.contains("apt install qemu-system-"),
        "{said}"
    );
}
