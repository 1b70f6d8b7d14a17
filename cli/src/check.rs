//! `hearth check` validates a manifest; `hearth schema` prints the manifest's JSON Schema.

use hearth_manifest::Manifest;
use hearth_supervisor::load::{LoadError, load};
use serde_json::json;

use crate::args::Check;
use crate::out::{self, Outcome};

pub(crate) fn check(args: &Check) -> anyhow::Result<Outcome> {
    let parsed = match load(&args.manifest) {
        Ok(parsed) => parsed,
        Err(LoadError::Faults(faults)) => {
            if args.json {
                out::data(json!({ "ok": false, "faults": faults.faults, "more": faults.more }))?;
            } else {
                out::talk(&faults);
            }
            return Ok(Outcome::BadManifest);
        }
        Err(error) => {
            out::talk(format_args!("hearth: {:#}", anyhow::Error::from(error)));
            return Ok(Outcome::BadManifest);
        }
    };
    if args.json {
        out::data(json!({ "ok": true, "notes": parsed.notes }))?;
        return Ok(Outcome::Done);
    }
    for note in &parsed.notes {
        out::talk(note);
    }
    if args.print {
        out::data(parsed.manifest.to_yaml().trim_end())?;
    } else {
        out::talk(summary(
            &args.manifest.display().to_string(),
            &parsed.manifest,
        ));
    }
    Ok(Outcome::Done)
}

pub(crate) fn schema() -> anyhow::Result<Outcome> {
    out::data(serde_json::to_string_pretty(&hearth_manifest::schema())?)?;
    Ok(Outcome::Done)
}

fn summary(file: &str, manifest: &Manifest) -> String {
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    };
    let routes = manifest
        .functions
        .values()
        .map(|function| function.routes.len())
        .sum();
    let functions = count(manifest.functions.len(), "function");
    format!("{file} is good: {functions}, {}", count(routes, "route"))
}
