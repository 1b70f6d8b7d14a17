//! Parses the manifest, `edge.yaml`, into validated types and reports all errors at once. [`device`] parses the
//! settings of one appliance, `device.yaml`, in the same way.
//!
//! The crate reads no files, resolves no names and depends on no other Hearth crate. `read` parses the bytes into a
//! tree whose values carry their positions, `rules` checks constraints between keys, and `check` validates the tree
//! against the table in `keys`. The result is a [`Manifest`], or the errors as [`Faults`].

mod address;
mod check;
pub mod device;
mod domain;
mod duration;
mod endpoint;
mod fault;
mod keys;
mod method;
mod nearest;
mod node;
mod path;
mod print;
mod read;
#[cfg(test)]
mod reference;
mod rules;
mod schema;
mod secret;
mod shape;
mod size;
mod stray;
mod types;

pub use domain::DomainError;
pub use duration::{print as print_duration, read as read_duration};
pub use endpoint::Endpoint;
pub use fault::{Fault, Faults, Kind};
pub use path::PathError;
pub use schema::schema;
pub use secret::{Filled, Missing, is_secret_name};
pub use size::{print as print_size, read as read_size};
pub use types::{
    Build, Certificate, Domain, EnvValue, Function, Gateway, GatewayLimits, Health, Listen,
    Manifest, Metrics, Mode, PathPattern, Route, Sandbox, Scale, Segment, Tls, WorkerLimits,
};

use fault::{At, Sink, Trail, Wrong};
use node::Node;
use serde::de::DeserializeOwned;
use shape::Shape;

/// An accepted manifest and the notes about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The accepted manifest.
    pub manifest: Manifest,
    /// Notes about accepted values that are probably mistakes, ordered by position.
    pub notes: Vec<Fault>,
}

/// Parses a manifest. `file` is the file name that the errors show; no file is read.
///
/// # Errors
///
/// Returns all errors, ordered by position. A YAML syntax error is returned alone, because the text after it cannot
/// be interpreted.
pub fn parse(file: &str, text: &[u8]) -> Result<Parsed, Faults> {
    let (manifest, notes) = typed(file, text, &keys::MANIFEST, rules::manifest)?;
    Ok(Parsed { manifest, notes })
}

/// Parses a text into `T`, by its table of keys and the rules between keys.
fn typed<T: DeserializeOwned>(
    file: &str,
    text: &[u8],
    table: &'static Shape,
    rules: fn(&Node, &mut Sink<'_>, &mut Sink<'_>),
) -> Result<(T, Vec<Fault>), Faults> {
    let (mut faults, mut notes) = (Sink::new(file), Sink::new(file));
    let json = read::tree(text, &mut faults).and_then(|root| {
        rules(&root, &mut faults, &mut notes);
        check::file(table, &root, &mut faults, &mut notes)
    });
    match json {
        Some(json) if faults.is_empty() => match serde_json::from_value(json) {
            Ok(found) => return Ok((found, notes.finish().faults)),
            // The table of keys and the types disagree. This is a bug in this crate, but it must not panic.
            Err(error) => {
                let wrong = Wrong::new(format!("not understood: {error}"));
                faults.put(At::START, &Trail::Top, Kind::Value, wrong);
            }
        },
        _ => {}
    }
    Err(faults.finish())
}
