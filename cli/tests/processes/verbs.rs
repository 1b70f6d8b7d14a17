//! Commands that need no running platform: their data, their messages and their exit statuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::platform::{PROBE, Place};

fn talk(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn data(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn check_of_a_good_manifest_ends_with_0() {
    let place = Place::new(PROBE);
    let good = place.hearth("check", &[]);
    assert_eq!(good.status.code(), Some(0));
    assert!(
        talk(&good).contains("is good: 1 function, 1 route"),
        "{good:?}"
    );
    assert_eq!(data(&good), "");
    let printed = place.hearth("check", &["--print"]);
    place.write(&data(&printed).replacen("service: test\n", "", 1));
    let again = place.hearth("check", &["--print"]);
    assert_eq!(
        data(&again),
        data(&printed),
        "what is printed is a manifest, too"
    );
}

#[test]
fn check_of_a_bad_manifest_ends_with_2_and_names_every_fault_on_stderr() {
    let place = Place::new("functions:\n  f:\n    route: []\n    binary: 7\n");
    let bad = place.hearth("check", &[]);
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(data(&bad), "");
    let said = talk(&bad);
    assert!(
        said.contains("edge.yaml:4:5: functions.f: unknown key `route`"),
        "{said}"
    );
    assert!(said.contains("did you mean `routes`?"), "{said}");
    assert!(
        said.contains("edge.yaml:5:13: functions.f.binary"),
        "{said}"
    );
    let json = place.hearth("check", &["--json"]);
    assert_eq!(json.status.code(), Some(2));
    let said: Value = serde_json::from_str(data(&json)).unwrap();
    assert_eq!(said["ok"], false);
    assert!(said["faults"].as_array().unwrap().len() >= 2, "{said}");
}

#[test]
fn up_of_a_bad_manifest_ends_with_2_and_leaves_nothing() {
    let place = Place::new("functions: 7");
    let bad = place.up_to_its_end();
    assert_eq!(bad.status.code(), Some(2));
    assert!(talk(&bad).contains("edge.yaml:2:12: functions"), "{bad:?}");
    assert!(!place.hearth_directory().exists());
    fs::remove_file(place.manifest()).unwrap();
    let missing = place.up_to_its_end();
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        talk(&missing).contains("cannot read the manifest"),
        "{missing:?}"
    );
}

#[test]
fn verbs_about_a_platform_that_does_not_run_end_with_1_and_say_how_to_start_it() {
    let place = Place::new(PROBE);
    for verb in ["status", "logs", "reload"] {
        let output = place.hearth(verb, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            talk(&output).contains("start one with `hearth up"),
            "{output:?}"
        );
    }
    let usage = place.hearth("status", &["--no-such-option"]);
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn schema_prints_json_that_describes_the_manifest() {
    let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .arg("schema")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_str(data(&output)).unwrap();
    let required = schema["required"].as_array().unwrap();
    assert!(required.contains(&"functions".into()), "{required:?}");
}

#[test]
fn decode_prints_every_good_vector_as_it_is_written_beside_it() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/good.txt");
    let vectors = fs::read_to_string(vectors).unwrap();
    let mut lines = vectors.lines().filter_map(|line| line.strip_prefix("  "));
    let mut hex = String::new();
    let mut expect = Vec::new();
    while let (Some(bytes), Some(text)) = (lines.next(), lines.next()) {
        hex.push_str(bytes);
        hex.push('\n');
        expect.push(text);
    }
    assert!(expect.len() > 10);
    let place = Place::new(PROBE);
    let file = place.path().join("capture");
    fs::write(&file, &hex).unwrap();
    let decode = |file: &Path, hex: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hearth"))
            .arg("decode")
            .arg(file)
            .args(hex)
            .output()
            .unwrap()
    };
    let output = decode(&file, &["--hex"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let frames: Vec<&str> = data(&output)
        .lines()
        .map(|line| line.trim_start().split_once(' ').unwrap().1)
        .collect();
    assert_eq!(frames, expect);

    // The same bytes without hexadecimal encoding, and cut in the middle of a frame.
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    fs::write(&file, &bytes).unwrap();
    assert_eq!(data(&decode(&file, &[])), data(&output));
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let cut = decode(&file, &[]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(
        talk(&cut).contains("ends in the middle of the frame"),
        "{cut:?}"
    );
}

#[test]
fn a_manifest_that_is_no_file_or_far_too_long_is_refused_at_once() {
    let place = Place::new(PROBE);
    let manifest = place.manifest();
    let refused = |said: &str| {
        let check = place.hearth("check", &[]);
        assert_eq!(check.status.code(), Some(2), "{check:?}");
        let seen = String::from_utf8(check.stderr).unwrap();
        assert!(seen.contains(said), "{seen}");
    };
    fs::write(&manifest, "a: ".to_owned() + &"b".repeat(5 << 20)).unwrap();
    refused("larger than 1 MiB");
    fs::remove_file(&manifest).unwrap();
    fs::create_dir(&manifest).unwrap();
    refused("is not a file");
    fs::remove_dir(&manifest).unwrap();
    let made = Command::new("mkfifo").arg(&manifest).status();
    assert!(made.unwrap().success());
    refused("is not a file");
}
