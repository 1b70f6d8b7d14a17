//! Property tests: no input makes `parse` panic or hang, and printed manifests parse to the same manifest.

// The lint exempts test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use hearth_manifest::{Domain, EnvValue, Manifest, PathPattern, parse};
use proptest::prelude::*;

const VALID: &str = include_str!("full.yaml");

/// Fragments of YAML and of manifests, which are inserted at random positions.
const BITS: [&str; 40] = [
    "\n",
    "  ",
    "- ",
    ": ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "|",
    ">",
    "\"",
    "'",
    "%",
    "---\n",
    "...\n",
    "\t",
    "\r",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "~",
    "-1",
    "0x",
    "1e9",
    "10s",
    "32KiB",
    "ANY",
    "service",
    "routes:",
    "{ secret: x }",
    "/{a+}",
    "*.b",
    "<<: ",
];

/// Parses a text. If it is accepted, the printed manifest must parse to the same manifest.
fn check(text: &[u8]) -> Result<(), TestCaseError> {
    match parse("edge.yaml", text) {
        Ok(parsed) => same_again(&parsed.manifest),
        Err(faults) => {
            prop_assert!(!faults.faults.is_empty() && faults.faults.len() <= 100);
            let places: Vec<_> = faults
                .faults
                .iter()
                .map(|fault| (fault.line, fault.column))
                .collect();
            prop_assert!(places.is_sorted());
            // Each error is one line, regardless of the text.
            let lines = faults.to_string().lines().count();
            prop_assert_eq!(lines, faults.faults.len() + usize::from(faults.more > 0));
            Ok(())
        }
    }
}

fn same_again(manifest: &Manifest) -> Result<(), TestCaseError> {
    let printed = manifest.to_yaml();
    match parse("printed", printed.as_bytes()) {
        Ok(again) => prop_assert_eq!(&again.manifest, manifest),
        Err(faults) => prop_assert!(false, "{}\n{}", faults, printed),
    }
    let bytes = rmp_serde::to_vec_named(manifest).unwrap();
    prop_assert_eq!(
        &rmp_serde::from_slice::<Manifest>(&bytes).unwrap(),
        manifest
    );
    Ok(())
}

/// Deletes, copies, replaces or inserts bytes at a position of the text.
fn mutate(text: &mut Vec<u8>, (how, at, len, bit, byte): (u8, usize, usize, usize, u8)) {
    if text.is_empty() {
        return;
    }
    let at = at % text.len();
    let end = (at + len % 24).min(text.len());
    match how % 4 {
        0 => drop(text.drain(at..end)),
        1 => {
            let copy = text[at..end].to_vec();
            let to = bit % text.len();
            drop(text.splice(to..to, copy));
        }
        2 => text[at] = byte,
        _ => drop(text.splice(at..at, BITS[bit % BITS.len()].bytes())),
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let map = prop::collection::btree_map(text(), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Into::into),
            map.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Texts that YAML printers and parsers often interpret differently.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[^\\x00]{0,6}",
        "[-+.:#?~!&*%@`'\"|>{}\\[\\], \\n\\t0-9a-zA-Z_]{0,10}",
        "[-+0-9.eExo_:]{1,8}",
        "(true|yes|no|on|off|null|NULL|~|<<|=|\\.inf|\\.nan|0o17|0x1F|1_000|1:30|2020-01-01|---|\\.\\.\\.)",
        "[ \\n]{0,4}[a-z#:-]{1,3}[ \\n]{0,4}[a-z]{0,2}[ \\n]{0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn arbitrary_bits_of_yaml_never_panic(bits in prop::collection::vec(0..BITS.len(), 0..60)) {
        let text: String = bits.into_iter().map(|bit| BITS[bit]).collect();
        check(text.as_bytes())?;
    }

    #[test]
    fn mutations_of_a_valid_manifest_never_panic(
        changes in prop::collection::vec(any::<(u8, usize, usize, usize, u8)>(), 1..6),
    ) {
        let mut text = VALID.as_bytes().to_vec();
        for change in changes {
            mutate(&mut text, change);
        }
        check(&text)?;
    }

    #[test]
    fn values_survive_print_and_reading(
        env in prop::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,5}", text(), 0..4),
        resources in prop::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,5}", json(), 0..4),
        (binary, command) in (text(), text()),
    ) {
        let mut manifest = parse("edge.yaml", VALID.as_bytes()).unwrap().manifest;
        let function = manifest.functions.get_mut("items").unwrap();
        function.env = env
            .into_iter()
            .map(|(name, text)| (name, EnvValue::Text(text)))
            .collect();
        function.resources = resources;
        function.binary = format!("b{binary}").into();
        function.build.as_mut().unwrap().command = format!("{command};");
        same_again(&manifest)?;
    }

    #[test]
    fn domains_print_as_they_parse(text in "(\\*\\.)?[a-zA-Z0-9_.-]{0,12}|\\PC{0,8}|\\[[0-9a-f:]{0,12}\\]") {
        if let Ok(domain) = text.parse::<Domain>() {
            let printed = domain.to_string();
            prop_assert_eq!(printed.parse::<Domain>(), Ok(domain.clone()));
            // The text of an IPv6 address can be longer than its canonical form.
            if !text.starts_with('[') {
                prop_assert_eq!(printed, text.strip_suffix('.').unwrap_or(&text).to_lowercase());
            }
            prop_assert!(!text.ends_with('*'));
        }
    }

    #[test]
    fn paths_print_as_they_parse(text in "(/([a-zé%{}+.~!@ -]{0,4}|%[0-9a-fA-F]{2}|\\{[a-z]{1,2}\\+?\\}|\\PC)){0,4}/?") {
        if let Ok(path) = text.parse::<PathPattern>() {
            prop_assert_eq!(path.to_string().parse::<PathPattern>(), Ok(path));
        }
    }
}
