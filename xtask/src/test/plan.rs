//! Decides which parts a test run has and what each of them can see. Runs nothing.

use anyhow::ensure;
use hearth_image::Arch;
use xtask::key::Tool;
use xtask::needs::{self, Need};
use xtask::tree::{Kind, Package, Scope, Tree};

use super::Size;
use super::part::{Inputs, Part, Stage, Work};

/// Tests of one program that are a separate part. Reasons: they see documents, and the program's other tests should
/// not run again when a document changes; or they load all processors for minutes, and others should not run at the
/// same time; or they measure how long something takes. A test compares this list with the files that the sources
/// name.
struct Split {
    package: &'static str,
    target: &'static str,
    /// What these tests have in common; empty if this is the whole program.
    name: &'static str,
    /// Modules of the test program; empty for the whole program.
    modules: &'static [&'static str],
    documents: &'static [&'static str],
}

const SPLIT: &[Split] = &[
    Split {
        package: "hearth",
        target: "processes",
        name: "documents",
        modules: &["control::", "metrics::", "operations::"],
        documents: &["docs/control-api.yaml", "docs/operations.md"],
    },
    Split {
        package: "hearth",
        target: "processes",
        name: "builds",
        modules: &["dev::", "new::", "static_build::"],
        documents: &[],
    },
    Split {
        package: "hearth",
        target: "processes",
        name: "clock",
        modules: &["times::"],
        documents: &[],
    },
    Split {
        package: "hearth",
        target: "image",
        name: "",
        modules: &[],
        documents: &["docs/image.md"],
    },
    Split {
        package: "hearth",
        target: "readme",
        name: "",
        modules: &[],
        documents: &["README.md"],
    },
    Split {
        package: "hearth-manifest",
        target: "hearth_manifest",
        name: "",
        modules: &[],
        documents: &["docs/edge.schema.json", "docs/manifest.md"],
    },
    Split {
        package: "hearth-supervisor",
        target: "openapi",
        name: "",
        modules: &[],
        documents: &["docs/control-api.yaml"],
    },
];

/// Test programs whose tests mostly wait for processes or time. More of their tests run at once than there are
/// processors.
const WAITING: &[(&str, &str)] = &[("hearth", "processes")];

/// The package whose tests use random input.
const FUZZ: &str = "hearth-fuzz";

/// Tests at once per processor, for a program that mostly waits. With more, tests that measure time miss their
/// limits.
const WAITING_THREADS: usize = 2;

/// Packages whose programs or files the tests of a package use without depending on them.
const USED: &[(&str, &[&str])] = &[
    (
        "hearth",
        &[
            "hearth-examples",
            "hearth-hostile",
            "hearth-image",
            "hearth-sdk",
            "hello",
            "items_postgres",
        ],
    ),
    ("bench", &["hearth", "hello"]),
    // The test that compares the lists in this file with the sources reads all of them.
    (
        "xtask",
        &[
            "bench",
            "hearth",
            "hearth-fuzz",
            "hearth-init",
            "xtask-machines",
        ],
    ),
];

/// Returns the parts of a test run of this size.
pub(crate) fn parts(tree: &Tree, size: &Size) -> anyhow::Result<Vec<Part>> {
    let mut parts = vec![style(tree)];
    let host = host(tree);
    let Size::Quick { crates } = size else {
        parts.extend(host);
        parts.extend(chance(size));
        parts.extend(machines(size));
        parts.extend(long(size));
        return Ok(parts);
    };
    for name in crates {
        let known = tree.packages().iter().map(|package| package.name.as_str());
        let known: Vec<&str> = known.collect();
        ensure!(
            known.contains(&name.as_str()),
            "unknown package {name:?}: expected one of {}",
            known.join(", ")
        );
    }
    parts.extend(host.into_iter().filter(|part| {
        let seen = tree.with_dependencies(&part.inputs.scope.packages);
        crates.is_empty() || crates.iter().any(|name| seen.contains(name.as_str()))
    }));
    Ok(parts)
}

fn style(tree: &Tree) -> Part {
    let packages = tree.packages().iter();
    let names: Vec<&str> = packages.map(|package| package.name.as_str()).collect();
    Part {
        name: "style".to_owned(),
        stage: Stage::Style,
        work: Work::Style,
        inputs: Inputs {
            // cargo-deny reads it.
            scope: Scope::new(&names).with_files(&["deny.toml"]),
            tools: &[Tool::Rust, Tool::StaticRust],
            needs: &[needs::TESTS],
        },
        depends_on_chance: false,
    }
}

/// Returns a part for each test program of the host, and one for the examples in documentation.
fn host(tree: &Tree) -> Vec<Part> {
    let mut parts = Vec::new();
    for package in tree.packages() {
        for target in package.targets.iter().filter(|target| target.tested) {
            parts.extend(programs(package, &target.name, target.kind));
        }
    }
    let documented = |package: &&Package| package.targets.iter().any(|one| one.documented);
    let packages = tree.packages().iter().filter(documented);
    let names: Vec<&str> = packages.map(|package| package.name.as_str()).collect();
    parts.push(Part {
        name: "examples of the documentation".to_owned(),
        work: Work::Documentation,
        ..on_host(Scope::new(&names).with_files(&["docs/functions.md"]))
    });
    parts
}

/// Returns the parts of one test program, which is usually one.
fn programs(package: &Package, target: &str, kind: Kind) -> Vec<Part> {
    let name = match kind {
        Kind::Library => format!("{}, library", package.name),
        Kind::Program | Kind::Example => format!("{}, program {target}", package.name),
        Kind::Test => format!("{}, {target}", package.name),
    };
    let part = |name: String, words: Vec<String>, documents: &[&str]| Part {
        name,
        work: Work::Program {
            package: package.name.clone(),
            target: target.to_owned(),
            kind,
            words,
        },
        depends_on_chance: package.name == FUZZ,
        ..on_host(scope(package, documents))
    };
    let splits = SPLIT
        .iter()
        .filter(|one| one.package == package.name && one.target == target);
    let splits: Vec<&Split> = splits.collect();
    if let Some(whole) = splits.iter().find(|one| one.modules.is_empty()) {
        return vec![part(name, Vec::new(), whole.documents)];
    }
    let modules = splits.iter().flat_map(|one| one.modules);
    let mut rest: Vec<String> = modules
        .flat_map(|module| ["--skip", module])
        .map(str::to_owned)
        .collect();
    if WAITING.contains(&(package.name.as_str(), target)) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (WAITING_THREADS * processors).to_string();
        rest.extend(["--test-threads".to_owned(), threads]);
    }
    let mut parts = vec![part(name.clone(), rest, &[])];
    parts.extend(splits.iter().map(|one| {
        let modules = one.modules.iter().map(|module| (*module).to_owned());
        let name = format!("{name} ({})", one.name);
        part(name, modules.collect(), one.documents)
    }));
    parts
}

/// Returns what a test program of a package sees.
fn scope(package: &Package, documents: &[&str]) -> Scope {
    let used = USED.iter().find(|(name, _)| *name == package.name);
    let used = used.map(|(_, packages)| *packages).unwrap_or_default();
    Scope::new(&[&[package.name.as_str()], used].concat()).with_files(documents)
}

/// Returns a part of the host's tests, without a name or work.
fn on_host(scope: Scope) -> Part {
    Part {
        name: String::new(),
        stage: Stage::Host,
        work: Work::Style,
        inputs: Inputs {
            scope,
            // Tests of `hearth build` use the static toolchain.
            tools: &[Tool::Rust, Tool::StaticRust, Tool::HostKernel],
            needs: &[needs::TESTS],
        },
        depends_on_chance: false,
    }
}

/// Returns the parts that depend on chance: a sample, or longer runs.
fn chance(size: &Size) -> Vec<Part> {
    let seconds = match size {
        Size::Full { .. } => "120",
        Size::Usual | Size::Quick { .. } => "20",
    };
    let part = |name: &str, work: Work, packages: &[&str]| Part {
        name: name.to_owned(),
        stage: Stage::Chance,
        work,
        depends_on_chance: true,
        ..on_host(Scope::new(packages))
    };
    let chaos = ["chaos", "--seconds", seconds].map(str::to_owned).to_vec();
    let mut parts = vec![part(
        "chaos",
        Work::Bench { words: chaos },
        &["bench", "hearth"],
    )];
    if matches!(size, Size::Full { .. }) {
        let fuzz = Work::Fuzz {
            runs: LONG_FUZZ_RUNS,
        };
        parts.push(part("fuzz", fuzz, &["hearth-fuzz"]));
    }
    parts
}

/// Runs of each fuzz target in a full run.
const LONG_FUZZ_RUNS: u64 = 1_000_000;

/// The number of power cuts per architecture: in a sample, and in a full run.
const POWER_CUTS: u32 = 3;
const FULL_POWER_CUTS: u32 = 50;

/// The packages that every test in a virtual machine uses.
const HARNESS: &[&str] = &["xtask-machines", "hearth-qemu-tests", "hearth-guest"];

/// The programs of an appliance, the programs that attack or sabotage it in tests, and the functions of its images.
const APPLIANCE: &[&str] = &[
    "hearth",
    "hearth-examples",
    "hearth-hostile",
    "hearth-init",
    "hearth-selector",
    "hello",
];

/// Returns the parts that run in virtual machines.
fn machines(size: &Size) -> Vec<Part> {
    let cuts = match size {
        Size::Full { .. } => FULL_POWER_CUTS,
        Size::Usual | Size::Quick { .. } => POWER_CUTS,
    };
    let both = |stage: Stage, name: &str, words: &[&str], packages: &[&str], needs| {
        Arch::ALL.map(|arch| machine(stage, arch, name, words, packages, needs))
    };
    let lanes = Stage::Machines;
    let attacked = &["hearth", "hearth-hostile", "hello"];
    let cuts = cuts.to_string();
    let power = ["power", "--cuts", &cuts];
    let power = both(lanes, "power cuts", &power, APPLIANCE, FIRMWARE_NEEDS);
    let power = power.map(|part| Part {
        depends_on_chance: true,
        ..part
    });
    // These tests run next to another machine's load. The attacks measure their own cost, so they run alone.
    let devices = ["devices", "--skip", ALONE];
    let mut parts: Vec<Part> = [
        both(
            lanes,
            "guest smoke",
            &["guest", "smoke"],
            &[],
            MACHINE_NEEDS,
        ),
        both(
            lanes,
            "guest reach",
            &["guest", "reach"],
            &["hearth", "hello"],
            MACHINE_NEEDS,
        ),
        both(lanes, "boots", &["boots"], &["hearth-init"], MACHINE_NEEDS),
        both(
            lanes,
            "firmware",
            &["firmware"],
            &["hearth-selector"],
            FIRMWARE_NEEDS,
        ),
        both(lanes, "devices", &devices, APPLIANCE, FIRMWARE_NEEDS),
        power,
        both(
            Stage::Alone,
            "guest attacks",
            &["guest", "attacks"],
            attacked,
            MACHINE_NEEDS,
        ),
        both(
            Stage::Alone,
            "guest many",
            &["guest", "many"],
            attacked,
            MACHINE_NEEDS,
        ),
        both(
            Stage::Alone,
            "devices attacks",
            &["devices", ALONE],
            APPLIANCE,
            FIRMWARE_NEEDS,
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Network traffic and writes to a card do not depend on the architecture, so these parts run on one only.
    let one = |arch, name: &str, needs| machine(lanes, arch, name, &[name], APPLIANCE, needs);
    parts.extend([
        one(Arch::X86_64, "network", NETWORK_NEEDS),
        one(Arch::X86_64, "flash", FIRMWARE_NEEDS),
        one(Arch::Aarch64, "pi", PI_NEEDS),
    ]);
    parts
}

/// The tests of devices that measure what attacks cost.
const ALONE: &str = "attacks::";

type AllNeeds = &'static [&'static [Need]];

const MACHINE_NEEDS: AllNeeds = &[needs::TOOLCHAIN, needs::KERNEL, needs::QEMU, needs::KIT];
const FIRMWARE_NEEDS: AllNeeds = &[
    needs::TOOLCHAIN,
    needs::KERNEL,
    needs::QEMU,
    needs::KIT,
    needs::FIRMWARE,
    needs::TESTS,
];
const NETWORK_NEEDS: AllNeeds = &[
    needs::TOOLCHAIN,
    needs::KERNEL,
    needs::QEMU,
    needs::KIT,
    needs::FIRMWARE,
    needs::NETWORK,
];
const PI_NEEDS: AllNeeds = &[
    needs::TOOLCHAIN,
    needs::KERNEL,
    needs::QEMU,
    needs::KIT,
    needs::PI,
];

/// Returns a part in virtual machines of one architecture. `words` are arguments of `xtask-machines`, without the
/// architecture.
fn machine(
    stage: Stage,
    arch: Arch,
    name: &str,
    words: &[&str],
    packages: &[&str],
    needs: AllNeeds,
) -> Part {
    let (verb, rest) = words.split_first().unwrap_or((&"", &[]));
    let arches: &[&str] = match *verb {
        // The Pi exists for one architecture only.
        "pi" => &[],
        _ => &[arch.name()],
    };
    let all = [&[*verb], arches, rest].concat();
    Part {
        name: format!("{name}, {arch}"),
        stage,
        work: Work::Machines {
            words: all.into_iter().map(str::to_owned).collect(),
            lane: arch,
        },
        inputs: Inputs {
            scope: Scope::new(&[packages, HARNESS].concat()),
            tools: &[Tool::Rust, Tool::StaticRust, Tool::Qemu, Tool::Firmware],
            needs,
        },
        depends_on_chance: false,
    }
}

/// Returns the parts that take hours.
fn long(size: &Size) -> Vec<Part> {
    match size {
        Size::Full { .. } => vec![Part {
            name: "soak".to_owned(),
            stage: Stage::Long,
            work: Work::Bench {
                words: ["soak", "--minutes", "120"].map(str::to_owned).to_vec(),
            },
            depends_on_chance: true,
            ..on_host(Scope::new(&["bench", "hearth"]))
        }],
        Size::Usual | Size::Quick { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Component, Path, PathBuf};

    use xtask::sh::root;

    use super::*;

    const FULL: Size = Size::Full { resume: false };

    fn tree() -> Tree {
        Tree::read(&root()).unwrap()
    }

    #[test]
    fn every_part_has_a_key_and_a_name_of_its_own() {
        let tree = tree();
        let parts = parts(&tree, &FULL).unwrap();
        let mut keys = BTreeMap::new();
        for part in &parts {
            let key = part.key(&tree).unwrap();
            let other = keys.insert(key.full().to_owned(), &part.name);
            assert_eq!(other, None, "{}", part.name);
        }
        let names: BTreeSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names.len(), parts.len());
    }

    /// Returns the parts whose keys change with a file.
    fn changed_by(file: &str) -> Vec<String> {
        let tree = tree();
        let parts = parts(&tree, &Size::Usual).unwrap();
        let sees = |part: &&Part| tree.seen(&part.inputs.scope).any(|one| one == file);
        parts
            .iter()
            .filter(sees)
            .map(|part| part.name.clone())
            .collect()
    }

    #[test]
    fn a_change_of_the_gateway_runs_what_has_a_gateway_in_it_and_nothing_else() {
        let changed = changed_by("gateway/src/lib.rs");
        let has = |name: &str| changed.iter().any(|one| one == name);
        for name in [
            "style",
            "hearth-gateway, library",
            "hearth, processes",
            "guest attacks, x86_64",
            "devices, aarch64",
            "pi, aarch64",
        ] {
            assert!(has(name), "{name} in {changed:?}");
        }
        for name in [
            "hearth-init, library",
            "hearth-sdk, library",
            "boots, x86_64",
            "firmware, aarch64",
            "guest smoke, x86_64",
        ] {
            assert!(!has(name), "{name} in {changed:?}");
        }
    }

    #[test]
    fn a_change_of_a_document_runs_only_what_reads_it() {
        for (document, expect) in [
            ("CHANGELOG.md", &[][..]),
            ("README.md", &["hearth, readme"]),
            ("docs/operations.md", &["hearth, processes (documents)"]),
            ("docs/functions.md", &["examples of the documentation"]),
            ("docs/security.md", &[]),
            ("deny.toml", &["style"]),
        ] {
            assert_eq!(changed_by(document), expect, "{document}");
        }
    }

    #[test]
    fn what_belongs_to_no_package_runs_everything() {
        let all = parts(&tree(), &Size::Usual).unwrap().len();
        for file in ["Cargo.lock", "buildroot/board/hearth/kernel/common.config"] {
            assert_eq!(changed_by(file).len(), all, "{file}");
        }
    }

    #[test]
    fn quick_runs_tests_of_what_sees_a_named_package() {
        let crates = vec!["hearth-init".to_owned()];
        let parts = parts(&tree(), &Size::Quick { crates }).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert!(names.contains(&"style") && names.contains(&"hearth-init, library"));
        assert!(!names.contains(&"hearth-gateway, library"), "{names:?}");
        let crates = vec!["no-such".to_owned()];
        assert!(super::parts(&tree(), &Size::Quick { crates }).is_err());
    }

    #[test]
    fn the_parts_in_virtual_machines_are_those_of_the_command_line() {
        let parts = parts(&tree(), &FULL).unwrap();
        let verbs: BTreeSet<String> = parts
            .into_iter()
            .filter_map(|part| match part.work {
                Work::Machines { words, .. } => Some(words[0].clone()),
                _ => None,
            })
            .collect();
        let known = crate::machines::PARTS.iter().map(|part| (*part).to_owned());
        assert_eq!(verbs, known.collect());
    }

    /// Removes `.` and `..` from a path.
    fn normal(path: &Path) -> PathBuf {
        let mut normal = PathBuf::new();
        for component in path.components() {
            match component {
                Component::ParentDir => drop(normal.pop()),
                Component::CurDir => {}
                other => normal.push(other),
            }
        }
        normal
    }

    /// Returns the project's files outside of its own package that a source names as `"…/../…"`.
    fn named_by(tree: &Tree, file: &str, text: &str) -> BTreeSet<String> {
        let package = tree.owner(file).map(|package| package.directory.as_str());
        let package = package.unwrap_or_default();
        let directory = Path::new(file).parent().unwrap_or(Path::new(""));
        let literals = text.split('"').filter(|literal| literal.contains("../"));
        let mut found = BTreeSet::new();
        for literal in literals {
            let literal = literal.trim_start_matches('/');
            for base in [directory, Path::new(package)] {
                let path = normal(&base.join(literal));
                let path = path.to_string_lossy().into_owned();
                let is_file = tree.files().any(|one| one == path);
                let is_own = path.starts_with(&format!("{package}/"));
                if is_file && !is_own {
                    found.insert(path);
                }
            }
        }
        found
    }

    #[test]
    fn every_file_that_a_source_names_outside_of_its_package_is_seen_by_the_package_s_tests() {
        let tree = tree();
        let parts = parts(&tree, &FULL).unwrap();
        let mut checked = 0;
        for file in tree.files().filter(|file| file.ends_with(".rs")) {
            let Some(package) = tree.owner(file) else {
                continue;
            };
            let text = fs::read_to_string(root().join(file)).unwrap();
            for named in named_by(&tree, file, &text) {
                let sees = |part: &&Part| {
                    part.stage != Stage::Style
                        && part.inputs.scope.packages.contains(&package.name)
                        && tree.seen(&part.inputs.scope).any(|one| one == named)
                };
                assert!(
                    parts.iter().any(|part| sees(&part)),
                    "{file} names {named}, which no test of {} sees",
                    package.name
                );
                checked += 1;
            }
        }
        assert!(checked > 5, "only {checked} names were found");
    }
}
