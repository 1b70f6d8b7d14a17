//! Tests that invalid manifests are rejected with the expected errors. The cases are in `refused.txt`.
//!
//! A case is `== what it shows`, the manifest, `=>`, and the errors as printed.
//! `UPDATE_GOLDEN=1 cargo test -p hearth-manifest` rewrites the text after `=>`.

// The lint exempts test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use hearth_manifest::{Kind, parse};

const CASES: &str = include_str!("refused.txt");

fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    CASES.split("== ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').unwrap();
        let (input, expect) = rest.split_once("=>\n").unwrap();
        (name, input, expect)
    })
}

fn printed(input: &str) -> String {
    match parse("edge.yaml", input.as_bytes()) {
        Ok(parsed) => format!("accepted, {} notes\n", parsed.notes.len()),
        Err(faults) => format!("{faults}\n"),
    }
}

#[test]
fn every_fault_is_told_with_its_place() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut all = String::new();
        for (name, input, _) in cases() {
            all.push_str(&format!("== {name}\n{input}=>\n{}\n", printed(input)));
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/refused.txt");
        std::fs::write(file, all.trim_end().to_owned() + "\n").unwrap();
        return;
    }
    for (name, input, expect) in cases() {
        assert_eq!(printed(input).trim_end(), expect.trim_end(), "{name}");
        assert!(parse("edge.yaml", input.as_bytes()).is_err(), "{name}");
    }
}

#[test]
fn what_is_planned_has_a_kind_and_words_of_its_own() {
    for (name, input, _) in cases() {
        let Err(faults) = parse("edge.yaml", input.as_bytes()) else {
            panic!("{name}")
        };
        for fault in faults.faults {
            let words = fault.message.contains("not yet supported");
            assert_eq!(fault.kind == Kind::Unsupported, words, "{name}: {fault}");
        }
    }
}

#[test]
fn a_fault_serialises_for_machines() {
    let faults = parse("edge.yaml", b"service: s\nfunctions: {f: {route: []}}\n").unwrap_err();
    let first = serde_json::to_value(&faults.faults[1]).unwrap();
    assert_eq!(
        first,
        serde_json::json!({
            "file": "edge.yaml",
            "line": 2,
            "column": 17,
            "path": "functions.f",
            "kind": "unknown_key",
            "message": "unknown key `route`",
            "hint": "did you mean `routes`?",
        })
    );
    let all: hearth_manifest::Faults =
        serde_json::from_value(serde_json::to_value(&faults).unwrap()).unwrap();
    assert_eq!(all, faults);
}

#[test]
fn a_hundred_faults_are_told_and_the_rest_counted() {
    let wrong: String = (0..250).map(|n| format!("zz{n}: 1\n")).collect();
    let faults = parse("edge.yaml", wrong.as_bytes()).unwrap_err();
    assert_eq!((faults.faults.len(), faults.more), (100, 152));
    assert!(faults.to_string().ends_with("\nand 152 more"));
    // The first errors by position, regardless of the order in which they were found.
    let first: Vec<_> = faults
        .faults
        .iter()
        .take(4)
        .map(|fault| fault.message.as_str())
        .collect();
    assert_eq!(
        first,
        [
            "unknown key `zz0`",
            "missing key `service`",
            "missing key `functions`",
            "unknown key `zz1`"
        ]
    );
    assert_eq!(faults.faults[99].line, 98);
}
