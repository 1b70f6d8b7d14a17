//! Chooses the sandbox helper: the small program `hearth-cell`, if it is beside the running program and built from the
//! same sources; otherwise the running program itself. A helper from other sources could ignore a part of the plan.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::gateway::Program;

/// The name of the small helper program.
pub const NAME: &str = "hearth-cell";

/// The argument that makes a program with other functions act as the sandbox helper.
pub const VERB: &str = "cell";

/// The argument that makes the small program print its [`SOURCES`].
pub const ASK: &str = "sources";

/// The hash of the sources that this program was built from.
pub const SOURCES: &str = env!("HEARTH_SOURCES");

/// The sandbox helper for the running program `own`, which can be the helper itself by [`VERB`].
pub fn choose(own: PathBuf) -> Program {
    let small = own.with_file_name(NAME);
    let told = Command::new(&small)
        .arg(ASK)
        .env_clear()
        .stdin(Stdio::null())
        .output();
    match told {
        Ok(told) if told.stdout == SOURCES.as_bytes() => Program {
            path: small,
            args: vec![],
        },
        _ => Program {
            path: own,
            args: vec![VERB.into()],
        },
    }
}
