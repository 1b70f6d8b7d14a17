//! The manifest, `edge.yaml`: from text to validated types, with every fault at once; and the settings of one
//! box, `device.yaml`, by the same way ([`device`]).
//!
//! Pure: reads no files, resolves no names, knows no other part of Hearth. Text goes through
//! `read` (bytes to a tree whose values know their places), `check` (the tree against the table in
//! `keys`) and `rules` (what holds between keys), and comes out as [`Manifest`]. What is wrong comes
//! out as [`Faults`].

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

/// An accepted manifest, and what is worth saying about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The manifest.
    pub manifest: Manifest,
    /// Accepted, yet probably not meant so: in the order of their places.
    pub notes: Vec<Fault>,
}

/// Reads a manifest. `file` is only a name, for the faults.
///
/// # Errors
///
/// All faults at once, by place; a fault of the YAML itself stands alone, for what follows it cannot
/// be known.
pub fn parse(file: &str, text: &[u8]) -> Result<Parsed, Faults> {
    let (manifest, notes) = typed(file, text, &keys::MANIFEST, rules::manifest)?;
    Ok(Parsed { manifest, notes })
}

/// From a text to a type: by the table of its keys, and the rules between them.
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
            // The table and the types disagree: a defect of this crate, yet no reason to panic.
            Err(error) => {
                let wrong = Wrong::new(format!("not understood: {error}"));
                faults.put(At::START, &Trail::Top, Kind::Value, wrong);
            }
        },
        _ => {}
    }
    Err(faults.finish())
}
