//! Versions that were accepted are kept: workers are started from stored copies of programs, and a rollback returns
//! to them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;

use crate::load::Load;
use crate::platform::{Place, Platform};
use crate::{process, wait};

/// A manifest with two functions, each with a setting. `a` runs the program `own`.
fn manifest(a: &str, b: &str) -> String {
    format!(
        r#"
gateway: {{ listen: {{ http: "127.0.0.1:0" }} }}
functions:
  a: {{ routes: [{{ path: "/{{path+}}" }}], binary: own, env: {{ N: "{a}" }} }}
  b: {{ domains: [b.example], routes: [{{ path: "/{{path+}}" }}], binary: probe, env: {{ N: "{b}" }} }}
"#
    )
}

fn place() -> Place {
    let place = Place::new(&manifest("1", "1"));
    fs::copy(place.path().join("probe"), place.path().join("own")).unwrap();
    place
}

/// Replaces `own` by a copy of `program` with `more` appended, in one step, as a compiler does.
fn replace(place: &Place, program: &Path, more: &[u8]) {
    let fresh = place.path().join("fresh");
    fs::copy(program, &fresh).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&fresh).unwrap();
    file.write_all(more).unwrap();
    drop(file);
    fs::rename(&fresh, place.path().join("own")).unwrap();
}

fn reload(platform: &Platform) {
    let reloaded = platform.place.hearth("reload", &[]);
    assert!(reloaded.status.success(), "{reloaded:?}");
}

fn try_rollback(platform: &Platform, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.arg("rollback").args(args);
    command.arg("--manifest").arg(platform.place.manifest());
    command.output().unwrap()
}

/// Rolls back. Returns how long that took.
fn rollback(platform: &Platform, args: &[&str]) -> Duration {
    let begin = Instant::now();
    let output = try_rollback(platform, args);
    let took = begin.elapsed();
    assert!(output.status.success(), "{output:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    took
}

fn versions(platform: &Platform) -> Value {
    let output = platform.place.hearth("versions", &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The numbers of the kept versions, and the number of the version that is served.
fn numbers(platform: &Platform) -> (Vec<u64>, u64) {
    let versions = versions(platform);
    let all = versions["versions"].as_array().unwrap().iter();
    let numbers = all.map(|one| one["version"].as_u64().unwrap()).collect();
    (numbers, versions["current"].as_u64().unwrap())
}

/// The setting `N` of both functions.
fn settings(platform: &Platform) -> (Value, Value) {
    let b = platform.ask("GET /env?N", &["Host: b.example"], b"").json();
    (
        platform.get("/env?N").json()["env"].clone(),
        b["env"].clone(),
    )
}

/// The process id of a worker of the function that is ready.
fn ready(platform: &Platform, name: &str) -> u32 {
    let function = platform.function(name);
    let mut workers = function["workers"].as_array().unwrap().iter();
    let ready = workers.find(|worker| worker["state"] == "ready");
    crate::platform::pid(ready.unwrap())
}

#[test]
fn a_program_that_is_replaced_by_a_bad_one_is_not_what_a_killed_worker_is_replaced_by() {
    let platform = Platform::start_in(place());
    let worker = ready(&platform, "a");
    let command = fs::read_to_string(format!("/proc/{worker}/comm")).unwrap();
    assert_eq!(command, "own\n", "`ps` shows the program's name");
    // The worker executes the stored copy.
    let program = fs::metadata(format!("/proc/{worker}/exe")).unwrap();
    let kept = fs::read_dir(platform.place.state().join("versions/programs")).unwrap();
    let mut copies = kept.map(|entry| fs::metadata(entry.unwrap().path().join("own")));
    assert!(copies.any(|copy| copy.is_ok_and(|copy| copy.ino() == program.ino())));
    let mode = program.permissions().mode() & 0o777;
    assert_eq!(mode, if geteuid().is_root() { 0o111 } else { 0o555 });
    replace(&platform.place, Path::new("/bin/false"), b"");
    platform.wait_for_record("the bad one is refused", |record| {
        let message = record["message"].as_str().unwrap();
        message.starts_with("not reloaded: a: ")
    });
    process::signal(worker, Signal::SIGKILL);
    let begin = Instant::now();
    let answer = platform.get("/worker");
    assert_eq!(answer.status(), 200);
    let another = platform.worker("a");
    assert_ne!(another, worker);
    println!(
        "replaced by what was accepted, and answered, in {:.1?}",
        begin.elapsed()
    );
    // The worker is replaced even if the file no longer exists.
    fs::remove_file(platform.place.path().join("own")).unwrap();
    process::signal(another, Signal::SIGKILL);
    assert_eq!(platform.get("/worker").status(), 200);
}

#[test]
fn a_rollback_serves_what_was_served_before_without_touching_any_file_until_one_changes() {
    let platform = Platform::start_in(place());
    let probe = platform.place.path().join("probe");
    platform.place.write(&manifest("2", "1"));
    replace(&platform.place, &probe, b"two");
    reload(&platform);
    assert_eq!(settings(&platform), ("2".into(), "1".into()));
    let b = ready(&platform, "b");
    let text = fs::read(platform.place.manifest()).unwrap();
    let took = rollback(&platform, &[]);
    assert_eq!(settings(&platform), ("1".into(), "1".into()));
    assert_eq!(
        ready(&platform, "b"),
        b,
        "what did not change is left alone"
    );
    assert_eq!(numbers(&platform), (vec![1, 2], 1));
    let status = platform.place.hearth("status", &[]).stdout;
    let status = String::from_utf8(status).unwrap();
    assert!(status.contains("rolled back to version 1;"), "{status}");
    assert_eq!(fs::read(platform.place.manifest()).unwrap(), text);
    // After several scans of the files, and after the death of a worker, the rollback still holds.
    let until = Instant::now() + Duration::from_secs(2);
    process::signal(ready(&platform, "a"), Signal::SIGKILL);
    while Instant::now() < until {
        assert_eq!(settings(&platform).0, "1");
    }
    reload(&platform);
    assert_eq!(settings(&platform), ("2".into(), "1".into()));
    assert_eq!(numbers(&platform), (vec![1, 2], 2));
    assert_eq!(platform.status()["rolled_back"], false);
    rollback(&platform, &[]);
    platform.place.write(&manifest("3", "1"));
    wait::until("the change of the file is served", || {
        (settings(&platform).0 == "3").then_some(())
    });
    assert_eq!(numbers(&platform), (vec![1, 2, 3], 3));
    println!("rolled back everything in {took:.0?}");
}

#[test]
fn one_function_is_rolled_back_and_the_others_keep_their_workers() {
    let platform = Platform::start_in(place());
    platform.place.write(&manifest("2", "2"));
    reload(&platform);
    platform.place.write(&manifest("3", "3"));
    reload(&platform);
    let b = ready(&platform, "b");
    let took = rollback(&platform, &["a"]);
    assert_eq!(settings(&platform), ("2".into(), "3".into()));
    rollback(&platform, &["a"]);
    assert_eq!(settings(&platform), ("1".into(), "3".into()));
    rollback(&platform, &["a", "--to", "2"]);
    assert_eq!(settings(&platform), ("2".into(), "3".into()));
    assert_eq!(ready(&platform, "b"), b);
    let text = platform.place.hearth("versions", &[]).stdout;
    let text = String::from_utf8(text).unwrap();
    println!("rolled back one function in {took:.0?}; versions then:\n{text}");
    assert!(text.contains("a (settings); a was rolled back"), "{text}");
    assert!(
        text.contains("a: as of 1, 2*, 3\nb: as of 1, 2, 3*"),
        "{text}"
    );
    // A rollback of everything can return to a version that came from a rollback, and the file's version keeps its
    // number.
    rollback(&platform, &["--to", "5"]);
    assert_eq!(settings(&platform), ("1".into(), "3".into()));
    reload(&platform);
    assert_eq!(settings(&platform), ("3".into(), "3".into()));
    assert_eq!(numbers(&platform).1, 3);
}

#[test]
fn rollbacks_under_load_lose_no_request() {
    let platform = Platform::start_in(place());
    platform.place.write(&manifest("2", "1"));
    reload(&platform);
    let load = Load::start(platform.http(), &["GET /worker", "GET /sleep?ms=3"]);
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let to = if round % 2 == 0 { "1" } else { "2" };
        longest = longest.max(rollback(&platform, &["--to", to]));
        assert_eq!(platform.get("/env?N").json()["env"], to);
    }
    let answered = load.answered();
    assert_eq!(load.stop(), Vec::<String>::new());
    println!("10 rollbacks, the longest {longest:.0?}; requests: {answered}, lost: 0");
}

#[test]
fn versions_outlive_the_supervisor_which_serves_what_the_file_says() {
    let platform = Platform::start_in(place());
    platform.place.write(&manifest("2", "1"));
    reload(&platform);
    rollback(&platform, &[]);
    let (_, place) = platform.end(Signal::SIGTERM);
    let platform = Platform::start_in(place);
    assert_eq!(settings(&platform).0, "2");
    assert_eq!(numbers(&platform), (vec![1, 2], 2));
    rollback(&platform, &[]);
    assert_eq!(settings(&platform).0, "1");
    // A supervisor that is killed leaves the versions intact, too.
    let (_, place) = platform.end(Signal::SIGKILL);
    let platform = Platform::start_in(place);
    assert_eq!(numbers(&platform), (vec![1, 2], 2));
}

#[test]
fn only_the_programs_of_versions_that_are_kept_are_kept() {
    let platform = Platform::start_in(place());
    let probe = platform.place.path().join("probe");
    for number in 2..=6 {
        replace(&platform.place, &probe, format!("{number}").as_bytes());
        reload(&platform);
    }
    assert_eq!(numbers(&platform), (vec![4, 5, 6], 6));
    let programs = platform.place.state().join("versions/programs");
    let kept = fs::read_dir(programs).unwrap().count();
    println!("after 6 programs of one function and one of another: {kept} copies");
    assert_eq!(kept, 4);
    rollback(&platform, &["--to", "4"]);
    assert_eq!(platform.get("/worker").status(), 200);
    let refused = try_rollback(&platform, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("no version before 4 is kept"), "{told}");
    let unknown = try_rollback(&platform, &["nobody"]);
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(told.contains("no function `nobody` is served"), "{told}");
}

#[test]
fn a_damaged_program_is_not_rolled_back_to_and_a_torn_list_is_said_and_put_aside() {
    let platform = Platform::start_in(place());
    let first = versions(&platform)["functions"]["a"][0]["sha256"].clone();
    let probe = platform.place.path().join("probe");
    replace(&platform.place, &probe, b"two");
    reload(&platform);
    let state = platform.place.state().join("versions");
    let kept = state
        .join("programs")
        .join(first.as_str().unwrap())
        .join("own");
    // The same length, other contents.
    let len = fs::metadata(&kept).unwrap().len();
    fs::remove_file(&kept).unwrap();
    fs::write(&kept, vec![0; len as usize]).unwrap();
    let refused = try_rollback(&platform, &[]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("has other contents than it had"), "{told}");
    assert_eq!(platform.get("/worker").status(), 200);
    let (_, place) = platform.end(Signal::SIGTERM);
    let list = state.join("versions.json");
    let text = fs::read(&list).unwrap();
    fs::write(&list, &text[..text.len() - 100]).unwrap();
    let platform = Platform::start_in(place);
    platform.wait_for_record("it is said", |record| {
        let message = record["message"].as_str().unwrap();
        message.starts_with("the kept versions cannot be read: it is torn")
    });
    assert_eq!(numbers(&platform), (vec![1], 1));
    assert!(state.join("versions.torn").exists());
}

#[test]
fn a_rollback_does_not_wait_for_a_reload_that_hangs() {
    let platform = Platform::start_in(place());
    platform.place.write(&manifest("2", "1"));
    reload(&platform);
    let mute = platform.place.path().join("mute");
    fs::write(&mute, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&mute, PermissionsExt::from_mode(0o755)).unwrap();
    platform
        .place
        .write(&manifest("3", "1").replace("binary: own", "binary: mute"));
    let mut hanging = platform.place.command("reload", &[]);
    let mut hanging = hanging
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("the reload is under way", || {
        let workers = platform.function("a")["workers"].clone();
        (workers.as_array()?.len() == 2).then_some(())
    });
    let took = rollback(&platform, &[]);
    assert_eq!(settings(&platform).0, "1");
    assert_eq!(hanging.wait().unwrap().code(), Some(1));
    println!("rolled back in {took:.0?} while a reload hung");
}
