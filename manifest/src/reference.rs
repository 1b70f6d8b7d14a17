//! Tests that the generated parts of the documentation match the tables of keys: the references in `docs/manifest.md`
//! and `docs/appliance.md`, and the schema in `docs/edge.schema.json`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p hearth-manifest` rewrites these parts.

use std::fmt::Write as _;

use crate::device::DEVICE;
use crate::keys::MANIFEST;
use crate::shape::{Key, Need, Shape};
use crate::{check, duration, size, stray};

/// Formats all keys as a Markdown table.
fn reference(shape: &'static Shape) -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    rows(shape, "", &mut table);
    table
}

fn rows(shape: &'static Shape, above: &str, table: &mut String) {
    let Some((keys, suffix)) = stray::maps_of(shape) else {
        return;
    };
    for key in keys {
        let dot = if above.is_empty() { "" } else { "." };
        let path = format!("{above}{suffix}{dot}{}", key.name);
        let (kind, default) = (kind(key), absence(key));
        writeln!(table, "| `{path}` | {kind} | {default} | {} |", key.doc).unwrap();
        rows(key.shape, &path, table);
    }
}

fn kind(key: &Key) -> String {
    if let Need::NotYet = key.need {
        "*not yet supported*".to_owned()
    } else {
        words(key.shape)
    }
}

fn absence(key: &Key) -> String {
    match key.need {
        Need::Required => "required".to_owned(),
        Need::Default(yaml) => format!("`{}`", yaml.replace('"', "")),
        Need::As(other) => format!("as `{other}`"),
        Need::Absent(means) => means.to_owned(),
        Need::NotYet => String::new(),
    }
}

fn words(shape: &Shape) -> String {
    match shape {
        Shape::Map(_) => "a map".to_owned(),
        Shape::Names { name, each, .. } => format!("a map, {} to {}", name.what, words(each)),
        Shape::List { each, .. } => format!("a list, each {}", words(each)),
        Shape::Bool => "`true` or `false`".to_owned(),
        Shape::Whole { min, max } => format!("a number, {min} to {max}"),
        Shape::Decimal { min, max } => format!("a number, {min} to {max}, with a fraction"),
        Shape::Size { min, max } => {
            format!("a size, {} to {}", size::print(*min), size::print(*max))
        }
        Shape::Duration { min, max } => {
            format!(
                "a duration, {} to {}",
                duration::print(*min),
                duration::print(*max)
            )
        }
        Shape::Name(rule) => rule.what.to_owned(),
        Shape::Text(rule) => rule.what.to_owned(),
        Shape::Resource => "anything".to_owned(),
    }
}

/// Compares a file of `docs/` with its expected contents, or rewrites it if `UPDATE_GOLDEN` is set.
fn golden(name: &str, make: impl Fn(&str) -> String) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let expect = make(&found);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, expect).unwrap();
    } else {
        assert!(
            found == expect,
            "docs/{name} is out of date; UPDATE_GOLDEN=1 rewrites it"
        );
    }
}

#[test]
fn the_reference_lists_every_key() {
    const BEGIN: &str = "<!-- keys: generated from manifest/src/keys.rs -->\n";
    listed("manifest.md", BEGIN, &MANIFEST);
}

#[test]
fn the_settings_of_a_device_are_all_listed() {
    const BEGIN: &str = "<!-- keys: generated from manifest/src/device.rs -->\n";
    listed("appliance.md", BEGIN, &DEVICE);
}

/// Compares the part of a guide between `begin` and the end marker with the reference of `shape`.
fn listed(guide: &str, begin: &str, shape: &'static Shape) {
    const END: &str = "<!-- end of keys -->";
    golden(guide, |found| {
        let (before, rest) = found.split_once(begin).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        format!("{before}{begin}\n{}\n{END}{after}", reference(shape))
    });
}

#[test]
fn the_schema_file_is_the_schema() {
    golden("edge.schema.json", |_| {
        serde_json::to_string_pretty(&crate::schema()).unwrap() + "\n"
    });
}

#[test]
fn every_default_follows_the_table() {
    fn all(shape: &'static Shape) {
        let Some((keys, _)) = stray::maps_of(shape) else {
            return;
        };
        for key in keys {
            if let Need::Default(yaml) = key.need {
                check::default(key.shape, yaml);
            }
            all(key.shape);
        }
    }
    all(&MANIFEST);
    all(&DEVICE);
}

#[test]
fn every_example_of_the_guide_is_accepted() {
    let guide = include_str!("../../docs/manifest.md");
    let examples: Vec<_> = guide
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() > 1);
    for example in examples {
        if let Err(faults) = crate::parse("docs/manifest.md", example.as_bytes()) {
            panic!("{faults}\n\n{example}");
        }
    }
}

#[test]
fn the_faults_of_the_guide_are_those_of_its_bad_example() {
    let guide = include_str!("../../docs/manifest.md");
    let blocks: Vec<_> = guide
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [bad, told] = blocks[..] else {
        panic!("a bad manifest and its faults")
    };
    let faults = crate::parse("edge.yaml", bad.as_bytes()).unwrap_err();
    assert_eq!(format!("{faults}\n"), told);
}
