//! The log on disk: over restarts and crashes, on a full disk, and what can be queried of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::control::assert_as_documented;
use crate::platform::{HTTP_ONLY, PROBE, Place, Platform};
use crate::wait;

fn place() -> Place {
    Place::new(&format!("{HTTP_ONLY}\n{PROBE}"))
}

/// The files of the log, oldest first.
fn files(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.state().join("log")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Requests that the worker prints a text, and waits for the record of it.
fn say(platform: &Platform, text: &str) -> Value {
    assert_eq!(platform.get(&format!("/say?{text}")).status(), 204);
    let line = format!("to stdout: {text}");
    platform.wait_for_record(text, |record| record["message"] == line.as_str())
}

fn messages(platform: &Platform, args: &[&str]) -> Vec<String> {
    let output = platform.place.hearth("logs", &[&["--json"], args].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let message = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_as_documented("Record", &record);
        record["message"].as_str().unwrap().to_owned()
    };
    text.lines().map(message).collect()
}

#[test]
fn records_survive_an_orderly_end_and_a_crash_in_their_order() {
    let platform = Platform::start_in(place());
    say(&platform, "first");
    let (_, place) = platform.end(Signal::SIGTERM);
    let platform = Platform::start_in(place);
    say(&platform, "second");
    // A record is written when it arrives, not when the platform ends.
    let text = |place: &Place| fs::read_to_string(&files(place)[0]).unwrap();
    wait::until("it is on disk", || {
        text(&platform.place)
            .contains("to stdout: second")
            .then_some(())
    });
    let (_, place) = platform.end(Signal::SIGKILL);
    let platform = Platform::start_in(place);
    say(&platform, "third");
    // The access record arrives a little later, which could be between the two queries below.
    wait::until("its access is logged", || {
        let printed = platform.printed();
        printed
            .iter()
            .any(|one| one["source"] == "access")
            .then_some(())
    });
    let all = messages(&platform, &["-n", "1000"]);
    let place_of = |text: &str| {
        let fits = |message: &String| message == text;
        assert_eq!(
            all.iter().filter(|one| fits(one)).count(),
            1,
            "{text}: {all:?}"
        );
        all.iter().position(fits).unwrap()
    };
    let told = place_of("told to stop; stopping");
    assert!(place_of("to stdout: first") < told);
    assert!(told < place_of("to stdout: second"));
    assert!(place_of("to stdout: second") < place_of("to stdout: third"));
    // The last records, some of which are only on disk and some in memory.
    let lines = messages(&platform, &["-n", "1000", "--level", "info"]).len();
    let last = messages(&platform, &["-n", &(lines - 2).to_string()]);
    assert_eq!(last.len(), lines - 2);
    assert_eq!(last.last(), all.last());
}

#[test]
fn a_record_torn_by_a_crash_is_left_out_and_said() {
    let platform = Platform::start_in(place());
    say(&platform, "whole");
    let (_, place) = platform.end(Signal::SIGTERM);
    let path = files(&place).pop().unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"77 {\"time\":1,\"level\":\"in").unwrap();
    drop(file);
    let platform = Platform::start_in(place);
    let said = platform.wait_for_record("it is said", |record| {
        let message = record["message"].as_str().unwrap();
        message.contains("was not written whole; its 24 bytes are left out")
    });
    assert_eq!(said["level"], "warn");
    assert!(messages(&platform, &[]).contains(&"to stdout: whole".to_owned()));
    say(&platform, "after");
}

#[test]
fn a_disk_without_room_is_said_once_and_stops_nothing() {
    let place = place();
    fs::create_dir_all(place.state().join("log")).unwrap();
    symlink("/dev/full", place.state().join("log/000000000000.log")).unwrap();
    let platform = Platform::start_in(place);
    for number in 0..20 {
        say(&platform, &format!("number-{number}"));
    }
    let full = |record: &Value| {
        let message = record["message"].as_str().unwrap();
        message.contains("cannot be written") && message.contains("No space left")
    };
    platform.wait_for_record("it is said", full);
    assert_eq!(platform.logs().iter().filter(|one| full(one)).count(), 1);
    assert_eq!(platform.get("/small").status(), 200);
}

#[test]
fn where_the_log_cannot_be_kept_the_platform_serves_all_the_same() {
    let place = place();
    fs::create_dir_all(place.state()).unwrap();
    fs::write(place.state().join("log"), "in the way").unwrap();
    let platform = Platform::start_in(place);
    platform.wait_for_record("it is said", |record| {
        let message = record["message"].as_str().unwrap();
        record["level"] == "error" && message.starts_with("the log is not kept on disk in ")
    });
    say(&platform, "served");
}

#[test]
fn the_log_stays_within_the_size_it_was_given() {
    let args = ["--log", "quiet", "--log-size", "1MiB"];
    let platform = Platform::start_told(place(), &args);
    let size = |place: &Place| -> u64 {
        let sizes = files(place)
            .into_iter()
            .filter_map(|path| fs::metadata(path).ok());
        sizes.map(|meta| meta.len()).sum()
    };
    let mut client = platform.connect();
    let long = "x".repeat(2_000);
    let mut most = 0;
    for number in 0..1_500 {
        client.ask(&format!("GET /say?{number}-{long}"), &[], b"");
        most = most.max(size(&platform.place));
    }
    say(&platform, "last");
    most = most.max(size(&platform.place));
    assert!(most <= 1 << 20, "{most}");
    assert!(most > 1 << 19, "it keeps what there is room for: {most}");
    // The query returns records that are only on disk and records in memory, without a gap.
    let all = messages(&platform, &["-n", "100000"]);
    let numbers: Vec<u32> = all
        .iter()
        .filter_map(|message| {
            message
                .strip_prefix("to stdout: ")?
                .split_once("-x")?
                .0
                .parse()
                .ok()
        })
        .collect();
    assert!(numbers.len() > 100, "{}", numbers.len());
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{numbers:?}"
    );
    assert_eq!(numbers.last(), Some(&1_499));
}

#[test]
fn without_a_size_no_log_is_kept() {
    let platform = Platform::start_told(place(), &["--log-size", "0"]);
    say(&platform, "in-memory");
    let (status, place) = platform.end(Signal::SIGTERM);
    assert!(status.success());
    assert!(!place.state().join("log").exists());
    let wrong = place.hearth("up", &["--log-size", "5KiB"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn records_are_told_by_level_request_and_time() {
    let platform = Platform::start_in(place());
    let answer = platform.get("/say?one");
    let id = answer.header("x-request-id").unwrap().to_owned();
    platform.get("/panic");
    let access = platform.wait_for_record("it is logged", |record| {
        record["source"] == "access" && record["request"] == id.as_str()
    });
    let of_request = messages(&platform, &["--request", &id]);
    assert_eq!(of_request, [access["message"].as_str().unwrap()]);
    platform.wait_for_record("the panic is logged", |record| record["level"] == "error");
    let grave = platform
        .place
        .hearth("logs", &["--level", "warn", "--json"]);
    let grave = String::from_utf8(grave.stdout).unwrap();
    assert!(grave.contains("panic"), "{grave}");
    assert!(!grave.contains(r#""level":"info""#), "{grave}");
    assert!(!messages(&platform, &["--since", "1h"]).is_empty());
    assert!(messages(&platform, &["--since", "2999-01-01T00:00:00Z"]).is_empty());
    for (args, said) in [
        (["--since", "yesterday"], "since: `yesterday` is no time"),
        (["--level", "loud"], "level: `loud` is no level"),
    ] {
        let wrong = platform.place.hearth("logs", &args);
        assert_eq!(wrong.status.code(), Some(1));
        let text = String::from_utf8(wrong.stderr).unwrap();
        assert!(text.contains(said), "{text}");
    }
}
