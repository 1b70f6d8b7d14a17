//! A thousand functions on one small machine: how much memory they take, and whether `hearth status` still answers in
//! time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::platform::{HTTP_ONLY, Place, Platform, given, hearth};
use crate::wait::within;

const FUNCTIONS: usize = 1000;

/// Limit for `hearth status`. The aim is one second, which a physical processor achieves; an emulated one has a fifth
/// of that speed.
const STATUS: Duration = Duration::from_secs(5);

/// Limit until all functions are ready, on a slow machine.
const READY: Duration = Duration::from_secs(180);

/// How long the workers are left without requests before their memory is measured.
const REST: Duration = Duration::from_secs(5);

/// The value of a line of `/proc/meminfo`, in KiB.
fn memory(of: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    let number = line.trim_start_matches(':').split_whitespace().next();
    number.unwrap().parse().unwrap()
}

/// Needs a dedicated machine: elsewhere, memory that other processes take meanwhile would be counted, too.
#[test]
#[ignore = "it wants a machine of its own: `cargo xtask test guest` runs it in one"]
fn a_thousand_idle_functions_fit_and_status_stays_quick() {
    let hello = given("hello").expect("a machine of its own has all programs");
    let mut manifest = format!("{HTTP_ONLY}\nfunctions:\n");
    for number in 0..FUNCTIONS {
        manifest += &format!("  f{number}: {{ routes: [{{ path: /{number} }}], binary: hello }}\n");
    }
    fs::create_dir_all("/var/tmp").unwrap();
    let place = Place::new_in(Path::new("/var/tmp"), &manifest);
    fs::copy(hello, place.path().join("hello")).unwrap();
    let before = memory("MemAvailable");
    let begin = Instant::now();
    let platform = Platform::run(place, &mut Command::new(hearth()), &[], &["--log", "quiet"]);
    let ready = || {
        // A query takes processor time from the workers that start.
        sleep(Duration::from_secs(1));
        let status = platform.status();
        let functions = status["functions"].as_array()?.iter();
        let ready = functions.filter(|one| one["state"] == "ready").count();
        (ready == FUNCTIONS).then_some(())
    };
    within(READY, "all functions are ready", ready);
    let started = begin.elapsed();
    sleep(REST);
    let taken = before.saturating_sub(memory("MemAvailable"));
    // In the first run, an emulated processor also has to translate the program.
    let asked = [(); 5].map(|()| {
        let begin = Instant::now();
        let output = platform.place.hearth("status", &["--json"]);
        assert!(output.status.success(), "{output:?}");
        begin.elapsed()
    });
    println!(
        "{FUNCTIONS} idle functions: ready after {:.1} s; of {} MiB, {} MiB are taken by them, gateway and supervisor, \
         {} MiB are left; status after {asked:.1?}",
        started.as_secs_f64(),
        memory("MemTotal") >> 10,
        taken >> 10,
        memory("MemAvailable") >> 10,
    );
    for number in [0, FUNCTIONS / 2, FUNCTIONS - 1] {
        assert_eq!(platform.get(&format!("/{number}")).head.status, 200);
    }
    assert!(asked.iter().all(|asked| *asked < STATUS), "{asked:?}");
}
