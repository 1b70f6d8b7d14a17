//! Finds the tools that this machine has for static builds, and chooses the best way to build with them.
//!
//! The best way builds the standard library together with the worker, for musl. The result is half as large as that
//! of the next way, and only this way can leave out the code that handles panics. It needs a nightly toolchain with
//! the standard library's sources, and musl's `libc.a`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

/// A processor architecture of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// PCs
    #[value(name = "x86_64")]
    X86_64,
    /// Raspberry Pi and similar boards
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// The architecture of this machine, if it is one of the appliance's.
    pub(crate) fn of_this_machine() -> Option<Arch> {
        Arch::from_str(std::env::consts::ARCH, false).ok()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// The number of the processor in ELF files (`e_machine`).
    pub(super) fn machine(self) -> u16 {
        match self {
            Arch::X86_64 => 62,
            Arch::Aarch64 => 183,
        }
    }

    /// The name of Debian's C compiler for this architecture.
    fn compiler(self) -> String {
        match Arch::of_this_machine() == Some(self) {
            true => "cc".to_owned(),
            false => format!("{}-linux-gnu-gcc", self.name()),
        }
    }
}

/// The tools that this machine has to build for an architecture.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    /// The directory of a nightly toolchain.
    nightly: Option<PathBuf>,
    /// Whether the nightly toolchain has the standard library's sources.
    sources: bool,
    /// The directory of musl's startup objects and `libc.a`.
    musl: Option<PathBuf>,
    /// A C compiler that links, and the path of its `libgcc_eh.a`.
    linker: Option<(String, PathBuf)>,
    /// Whether the toolchain in use has the standard library for musl.
    target: bool,
}

impl Tools {
    /// Looks for the tools.
    pub(super) fn find(arch: Arch) -> Tools {
        let nightly = sysroot();
        let has_sources = |at: &PathBuf| sources(at).join("library/std/Cargo.toml").is_file();
        Tools {
            sources: nightly.as_ref().is_some_and(has_sources),
            nightly,
            musl: musl(arch),
            linker: linker(arch.compiler()),
            target: said(
                "rustc",
                &[
                    "--print",
                    "target-libdir",
                    "--target",
                    &triple(arch, "musl"),
                ],
            )
            .is_some_and(|directory| Path::new(&directory).is_dir()),
        }
    }
}

/// A way to build a static worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Builds the standard library as well, with a nightly toolchain, for musl.
    Whole {
        nightly: PathBuf,
        musl: PathBuf,
        linker: String,
        unwinder: PathBuf,
    },
    /// Uses the toolchain's standard library for musl, and this linker or, without one, the toolchain's own.
    Musl { linker: Option<String> },
    /// Links glibc statically.
    Glibc,
}

/// Chooses how to build. Also returns what the best way needs and this machine does not have.
pub(super) fn choose(arch: Arch, tools: Tools, here: Option<Arch>) -> (Option<Way>, Vec<String>) {
    let mut wanted = Vec::new();
    if tools.nightly.is_none() {
        wanted.push("a nightly toolchain (rustup toolchain install nightly)".to_owned());
    }
    if !tools.sources {
        let what = "its sources of the standard library (rustup component add rust-src --toolchain nightly)";
        wanted.push(what.to_owned());
    }
    if tools.musl.is_none() {
        let package = match here == Some(arch) {
            true => "musl-dev".to_owned(),
            false => match arch {
                Arch::X86_64 => "musl-dev:amd64".to_owned(),
                Arch::Aarch64 => "musl-dev:arm64".to_owned(),
            },
        };
        wanted.push(format!("musl's libc.a (Debian: apt install {package})"));
    }
    if tools.linker.is_none() {
        let package = match here == Some(arch) {
            true => "gcc".to_owned(),
            false => format!("gcc-{}-linux-gnu", arch.name().replace('_', "-")),
        };
        wanted.push(format!("a linker (Debian: apt install {package})"));
    }
    let linker = tools.linker.as_ref().map(|(linker, _)| linker.clone());
    let way = match (tools.nightly, tools.musl, tools.linker) {
        (Some(nightly), Some(musl), Some((linker, unwinder))) if tools.sources => {
            Some(Way::Whole {
                nightly,
                musl,
                linker,
                unwinder,
            })
        }
        _ if tools.target => Some(Way::Musl {
            linker: linker.filter(|_| here != Some(arch)),
        }),
        _ if here == Some(arch) => Some(Way::Glibc),
        _ => None,
    };
    (way, wanted)
}

/// How to call Cargo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// The Cargo to call instead of the one in use.
    pub(super) cargo: Option<PathBuf>,
    /// The arguments after `build`.
    pub(super) args: Vec<String>,
    /// The compiler to use instead of the one in use.
    pub(super) rustc: Option<PathBuf>,
}

impl Way {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Way::Whole { .. } => "with the standard library built for it, and musl",
            Way::Musl { .. } => "with the toolchain's standard library, and musl",
            Way::Glibc => "with the toolchain's standard library, and glibc",
        }
    }

    /// How to call Cargo. `scratch` is a directory that contains the unwinder as `libunwind.a`, if the way needs one.
    /// `more` are flags of the user. `hidden` are directories whose paths are removed from programs.
    pub(super) fn call(
        &self,
        arch: Arch,
        smallest: bool,
        scratch: &Path,
        more: &[String],
        hidden: &[PathBuf],
    ) -> Call {
        let triple = match self {
            Way::Glibc => triple(arch, "gnu"),
            Way::Whole { .. } | Way::Musl { .. } => triple(arch, "musl"),
        };
        let mut call = Call::default();
        let mut profile = vec![
            "inherits=\"release\"".to_owned(),
            format!("opt-level=\"{}\"", if smallest { "z" } else { "s" }),
            "lto=\"fat\"".to_owned(),
            "codegen-units=1".to_owned(),
        ];
        let mut flags = vec![
            "-Ctarget-feature=+crt-static".to_owned(),
            // Cargo ignores a profile's `strip` for packages to which the workspace gives a profile of their own.
            "-Cstrip=symbols".to_owned(),
        ];
        match self {
            Way::Whole {
                nightly,
                musl,
                linker,
                ..
            } => {
                call.cargo = Some(nightly.join("bin/cargo"));
                call.rustc = Some(nightly.join("bin/rustc"));
                let library = match smallest {
                    true => "-Zbuild-std=std,panic_abort",
                    false => "-Zbuild-std=std,panic_unwind",
                };
                let features = match smallest {
                    true => "-Zbuild-std-features=optimize_for_size",
                    false => "-Zbuild-std-features=optimize_for_size,panic-unwind",
                };
                call.args.extend([library.to_owned(), features.to_owned()]);
                // Startup objects and libraries are named here. So the build needs no compiler wrapper, and works for
                // another architecture, too.
                let musl_file = |name: &str| format!("-Clink-arg={}", musl.join(name).display());
                flags.extend([
                    format!("-Clinker={linker}"),
                    "-Clink-self-contained=no".to_owned(),
                    // Otherwise the linker may use musl's shared library.
                    "-Crelocation-model=static".to_owned(),
                    format!("-Lnative={}", musl.display()),
                    format!("-Lnative={}", scratch.display()),
                    "-Clink-arg=-nostartfiles".to_owned(),
                    musl_file("crt1.o"),
                    musl_file("crti.o"),
                    musl_file("libc.a"),
                    "-Clink-arg=-lgcc".to_owned(),
                    musl_file("crtn.o"),
                    "-Clink-arg=-Wl,-z,noseparate-code".to_owned(),
                    "-Clink-arg=-Wl,--build-id=none".to_owned(),
                ]);
                if !smallest {
                    // The unwinder refers to these functions only weakly, and weak references pull nothing out of an
                    // archive.
                    let locks = ["pthread_mutex_lock", "pthread_mutex_unlock", "pthread_once"];
                    flags.extend(locks.map(|name| format!("-Clink-arg=-Wl,-u,{name}")));
                    // Inlines less than `opt-level=s` does, which saves one hundredth of the size.
                    flags.push("-Cllvm-args=-inline-threshold=20".to_owned());
                } else {
                    flags.extend([
                        "-Zunstable-options".to_owned(),
                        "-Cpanic=immediate-abort".to_owned(),
                        "-Cforce-unwind-tables=no".to_owned(),
                        "-Clink-arg=-Wl,--no-eh-frame-hdr".to_owned(),
                    ]);
                }
            }
            Way::Musl { linker } => {
                flags.push("-Crelocation-model=static".to_owned());
                flags.extend(linker.iter().map(|linker| format!("-Clinker={linker}")));
            }
            Way::Glibc => {}
        }
        if smallest && !matches!(self, Way::Whole { .. }) {
            profile.push("panic=\"abort\"".to_owned());
        }
        // Programs must not contain the user's name or directories.
        let hide = |path: &PathBuf| format!("--remap-path-prefix={}/=", path.display());
        flags.extend(hidden.iter().map(hide));
        flags.extend(more.iter().cloned());
        call.args.extend([
            "--target".to_owned(),
            triple.clone(),
            "--profile".to_owned(),
        ]);
        call.args.push("hearth".to_owned());
        for line in profile {
            call.args
                .extend(["--config".to_owned(), format!("profile.hearth.{line}")]);
        }
        // A list of strings in JSON is also one in TOML.
        let flags = serde_json::Value::from(flags);
        call.args.extend([
            "--config".to_owned(),
            format!("target.{triple}.rustflags={flags}"),
        ]);
        call
    }

    /// The linker, if it is not the toolchain's own choice.
    pub(super) fn compiler(&self) -> Option<&str> {
        match self {
            Way::Whole { linker, .. } => Some(linker),
            Way::Musl { linker } => linker.as_deref(),
            Way::Glibc => None,
        }
    }

    /// A file that must be in the scratch directory, and its name there.
    pub(super) fn scratch(&self) -> Option<(&Path, &'static str)> {
        match self {
            Way::Whole { unwinder, .. } => Some((unwinder, "libunwind.a")),
            Way::Musl { .. } | Way::Glibc => None,
        }
    }

    /// Directories whose paths would occur in programs that are built this way.
    pub(super) fn hidden(&self) -> Vec<PathBuf> {
        match self {
            Way::Whole { nightly, .. } => vec![sources(nightly)],
            Way::Musl { .. } | Way::Glibc => Vec::new(),
        }
    }
}

fn triple(arch: Arch, library: &str) -> String {
    format!("{}-unknown-linux-{library}", arch.name())
}

fn sources(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust")
}

/// The directory of a nightly toolchain: the one in use, or rustup's.
fn sysroot() -> Option<PathBuf> {
    let in_use = said("rustc", &["--version"])?;
    let found = match in_use.contains("-nightly") {
        true => said("rustc", &["--print", "sysroot"]),
        false => said("rustup", &["run", "nightly", "rustc", "--print", "sysroot"]),
    };
    found.map(PathBuf::from)
}

/// The directory of musl: from the packages of Debian, Fedora or Arch Linux, or unpacked in this user's cache
/// directory.
fn musl(arch: Arch) -> Option<PathBuf> {
    let name = arch.name();
    let mut places = vec![
        PathBuf::from(format!("/usr/lib/{name}-linux-musl")),
        PathBuf::from(format!("/usr/{name}-linux-musl/lib64")),
    ];
    if Arch::of_this_machine() == Some(arch) {
        places.push(PathBuf::from("/usr/lib/musl/lib"));
    }
    if let Some(cache) = cache() {
        places.push(cache.join(format!("hearth/musl/usr/lib/{name}-linux-musl")));
    }
    let has_all = |place: &PathBuf| {
        let mut files = ["crt1.o", "crti.o", "crtn.o", "libc.a"].iter();
        files.all(|file| place.join(file).is_file())
    };
    places.into_iter().find(has_all)
}

/// The user's cache directory (XDG Base Directory Specification).
pub(crate) fn cache() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
}

/// A compiler and the path of its unwinder, if it exists and has one.
fn linker(compiler: String) -> Option<(String, PathBuf)> {
    let unwinder = said(&compiler, &["-print-file-name=libgcc_eh.a"])?;
    // A compiler without an unwinder prints the bare file name.
    let unwinder = PathBuf::from(unwinder);
    unwinder.is_absolute().then_some((compiler, unwinder))
}

/// The output of a program, if it succeeds.
fn said(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86: Option<Arch> = Some(Arch::X86_64);

    fn all() -> Tools {
        Tools {
            nightly: Some("/nightly".into()),
            sources: true,
            musl: Some("/musl".into()),
            linker: Some(("cc".to_owned(), "/gcc/libgcc_eh.a".into())),
            target: true,
        }
    }

    #[test]
    fn the_best_way_is_taken_that_the_machine_has_the_tools_for() {
        let (way, wanted) = choose(Arch::X86_64, all(), X86);
        assert!(matches!(way, Some(Way::Whole { .. })) && wanted.is_empty());
        let without = |change: fn(&mut Tools)| {
            let mut tools = all();
            change(&mut tools);
            tools
        };
        for (tools, said) in [
            (without(|tools| tools.nightly = None), "nightly"),
            (without(|tools| tools.sources = false), "rust-src"),
            (without(|tools| tools.musl = None), "apt install musl-dev"),
            (without(|tools| tools.linker = None), "apt install gcc"),
        ] {
            let (way, wanted) = choose(Arch::X86_64, tools.clone(), X86);
            assert_eq!(way, Some(Way::Musl { linker: None }));
            assert!(wanted[0].contains(said) && wanted.len() == 1, "{wanted:?}");
            let (way, wanted) = choose(Arch::Aarch64, tools, X86);
            let linker = if said == "apt install gcc" {
                None
            } else {
                Some("cc".to_owned())
            };
            assert_eq!(way, Some(Way::Musl { linker }));
            assert_eq!(wanted.len(), 1);
        }
        let nothing = Tools::default();
        let (way, wanted) = choose(Arch::X86_64, nothing.clone(), X86);
        assert_eq!((way, wanted.len()), (Some(Way::Glibc), 4));
        let (way, wanted) = choose(Arch::Aarch64, nothing, X86);
        assert_eq!((way, wanted.len()), (None, 4));
        assert!(
            wanted[2].contains("musl-dev:arm64") && wanted[3].contains("gcc-aarch64-linux-gnu")
        );
    }

    fn call(way: &Way, smallest: bool) -> String {
        let (more, hidden) = (["-Cmore".to_owned()], [PathBuf::from("/home/ada")]);
        let call = way.call(
            Arch::X86_64,
            smallest,
            Path::new("/scratch"),
            &more,
            &hidden,
        );
        call.args.join(" ")
    }

    #[test]
    fn every_way_is_static_and_hides_who_built_it() {
        let (whole, _) = choose(Arch::X86_64, all(), X86);
        for way in [whole.unwrap(), Way::Musl { linker: None }, Way::Glibc] {
            for smallest in [false, true] {
                let call = call(&way, smallest);
                for part in [
                    "+crt-static",
                    "--remap-path-prefix=/home/ada/=",
                    "-Cmore",
                    "-Cstrip=symbols",
                ] {
                    assert!(call.contains(part), "{part}: {call}");
                }
                let aborts = call.contains("abort");
                assert_eq!(aborts, smallest, "{call}");
            }
        }
    }
}
