//! Which program makes cells: `hearth-cell`, which is small and soon loaded, where it lies beside the program that
//! runs and is of the same sources; else that program itself. One of other sources could leave out what a plan
//! asks for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::gateway::Program;

/// The small program's name.
pub const NAME: &str = "hearth-cell";

/// The word by which a program is to make a cell of itself, where it can do other things, too.
pub const VERB: &str = "cell";

/// The word by which the small program tells its [`SOURCES`].
pub const ASK: &str = "sources";

/// What this program's cells are made of.
pub const SOURCES: &str = env!("HEARTH_SOURCES");

/// What makes cells for `own`, which is this very program and does so by [`VERB`].
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
