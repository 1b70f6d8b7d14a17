//! Runs the commands of `docs/operations.md` in order, and compares the shape of their output with that in the
//! document.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::platform::{HEARTH, Place, Platform, function};
use crate::promise::commands;
use crate::wait;

/// Units of numbers: which of them is printed depends on the number.
const UNITS: [&str; 9] = ["B", "KiB", "MiB", "GiB", "ms", "s", "min", "h", "d"];

/// A line without what differs between runs: a word with digits becomes `#`, or `name=#` if it begins with a name and
/// `=` or `:`. Units and more numbers after a `#` are left out.
fn shape(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split([' ', ',']).filter(|word| !word.is_empty()) {
        let shaped = match word.split_once(['=', ':']) {
            _ if !word.contains(|char: char| char.is_ascii_digit()) => word.to_owned(),
            Some((name, _)) if name.contains(char::is_alphabetic) => format!("{name}=#"),
            _ => "#".to_owned(),
        };
        let after_figure = words.last().is_some_and(|last| last == "#");
        if !(after_figure && (shaped == "#" || UNITS.contains(&word))) {
            words.push(shaped);
        }
    }
    words.join(" ")
}

/// Whether the lines have the same shapes. A line `...` in `promise` matches any lines that follow.
fn same_shape(told: &str, promise: &str) -> bool {
    let shapes = |text: &str| text.trim_end().lines().map(shape).collect::<Vec<_>>();
    let (told, promise) = (shapes(told), shapes(promise));
    match promise.iter().position(|line| line == "...") {
        Some(gap) => told.len() >= gap && told[..gap] == promise[..gap],
        None => told == promise,
    }
}

#[test]
fn what_the_document_shows_is_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let manifest = text.split("```yaml\n").nth(1).unwrap();
    let manifest = manifest.split("```").next().unwrap();
    let place = Place::new("");
    fs::create_dir(place.path().join("bin")).unwrap();
    symlink(function("hello"), place.path().join("bin/hello")).unwrap();
    let anywhere = manifest.replace("127.0.0.1:8080", "127.0.0.1:0");
    let anywhere = anywhere.replace("127.0.0.1:9180", "127.0.0.1:0");
    fs::write(place.manifest(), anywhere).unwrap();
    let platform = Platform::start_in(place);
    let metrics = platform.status()["metrics"].as_str().unwrap().to_owned();
    let all = commands(&text, &[""]);
    for verb in [
        "check", "status", "top", "logs", "reload", "secret", "metrics",
    ] {
        let begins = format!("hearth {verb}");
        assert!(
            all.iter().any(|(command, _)| command.contains(&begins)),
            "{verb}"
        );
    }
    let programs = Path::new(HEARTH).parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    for (command, promise) in all {
        let ours = command
            .replace("127.0.0.1:8080", &platform.http().to_string())
            .replace("127.0.0.1:9180", &metrics);
        let output = Command::new("sh")
            .args(["-c", &format!("{ours} 2>&1")])
            .current_dir(platform.place.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            same_shape(&told, &promise),
            "{command}\nprinted\n{told}\nand not\n{promise}"
        );
        if command.starts_with("curl") && command.ends_with("8080/") {
            wait::until("the request is counted and logged", || {
                let counted = platform.function("hello")["requests"] == 1;
                let mut logs = platform.logs().into_iter();
                (counted && logs.any(|record| record["source"] == "access")).then_some(())
            });
        }
    }
}

#[test]
fn shapes_differ_by_words_and_not_by_figures() {
    assert!(same_shape("a  1.5 MiB x=7\n", "a 20 KiB x=123"));
    assert!(same_shape("up 59.9 s", "up 1 min 0 s"));
    assert!(same_shape("a\nb\nc", "a\n..."));
    assert!(!same_shape("a 1", "b 1"));
    assert!(!same_shape("a 1", "a"));
    assert!(!same_shape("a y=1", "a x=1"));
    assert!(!same_shape("a", "a\nb"));
    assert!(!same_shape("b\nc", "a\n..."));
}
