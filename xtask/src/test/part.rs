//! The parts of a test run: what each of them does and can see.

use anyhow::Context;
use hearth_image::Arch;
use xtask::key::{Key, KeyBuilder, Tool};
use xtask::needs::Need;
use xtask::tree::{Kind, Scope, Tree};

/// A stage of a test run. Its parts are independent of each other. The stages run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Formatting, lints, documentation.
    Style,
    /// Tests on this machine, one program after the other.
    Host,
    /// Tests on this machine that depend on chance.
    Chance,
    /// Virtual machines of both architectures, side by side.
    Machines,
    /// Virtual machines for measurements, which are meaningful only while no other one runs.
    Alone,
    /// Runs that take hours.
    Long,
}

impl Stage {
    pub(crate) const ALL: [Stage; 6] = [
        Stage::Style,
        Stage::Host,
        Stage::Chance,
        Stage::Machines,
        Stage::Alone,
        Stage::Long,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Stage::Style => "style",
            Stage::Host => "tests on this machine",
            Stage::Chance => "what depends on chance",
            Stage::Machines => "virtual machines, two side by side",
            Stage::Alone => "virtual machines, one at a time",
            Stage::Long => "long runs",
        }
    }

    /// Whether two parts of this stage run at the same time.
    pub(crate) fn is_side_by_side(self) -> bool {
        self == Stage::Machines
    }

    /// Whether parts of this stage need the host's programs and test programs.
    pub(crate) fn needs_build(self) -> bool {
        match self {
            Stage::Style => false,
            Stage::Host | Stage::Chance | Stage::Machines | Stage::Alone | Stage::Long => true,
        }
    }
}

/// What a part does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// `cargo xtask tidy`.
    Style,
    /// A test program on the host.
    Program {
        package: String,
        target: String,
        kind: Kind,
        /// Arguments for the test harness.
        words: Vec<String>,
    },
    /// The examples in the documentation of all packages.
    Documentation,
    /// A verb of `bench`.
    Bench { words: Vec<String> },
    /// Long fuzzing.
    Fuzz { runs: u64 },
    /// A verb of `xtask-machines`. Parts of different lanes run side by side.
    Machines { words: Vec<String>, lane: Arch },
}

/// Everything that a part can see. If none of this changes, a part that has passed would pass again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(crate) scope: Scope,
    pub(crate) tools: &'static [Tool],
    pub(crate) needs: &'static [&'static [Need]],
}

/// One part of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) stage: Stage,
    pub(crate) work: Work,
    pub(crate) inputs: Inputs,
    /// A part that depends on chance is never skipped.
    pub(crate) depends_on_chance: bool,
}

impl Part {
    /// Returns the hash of everything that the part can see.
    pub(crate) fn key(&self, tree: &Tree) -> anyhow::Result<Key> {
        let mut key = KeyBuilder::new("part").add("name", self.name.as_bytes());
        key = key.add("work", format!("{:?}", self.work).as_bytes());
        for tool in self.inputs.tools {
            key = key.add_tool(*tool);
        }
        for needs in self.inputs.needs {
            key = key.add_packages(needs);
        }
        let key = tree.add_to(key, &self.inputs.scope);
        Ok(key.with_context(|| self.name.clone())?.finish())
    }

    /// Returns the packages that contain what the part needs.
    pub(crate) fn needs(&self) -> &'static [&'static [Need]] {
        self.inputs.needs
    }

    /// Returns the architecture of the part's virtual machines. Parts of different architectures run side by side.
    pub(crate) fn lane(&self) -> Option<Arch> {
        match self.work {
            Work::Machines { lane, .. } => Some(lane),
            Work::Style
            | Work::Program { .. }
            | Work::Documentation
            | Work::Bench { .. }
            | Work::Fuzz { .. } => None,
        }
    }

    /// Whether the part runs statically linked programs.
    pub(crate) fn needs_static_toolchain(&self) -> bool {
        self.inputs.tools.contains(&Tool::StaticRust)
    }
}
