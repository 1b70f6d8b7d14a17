//! `hearth build`: static workers that are small, need no shared libraries, and behave as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use crate::new::{HEARTH, command};
use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::Postgres;

const KIB: u64 = 1024;

/// The source of a function that greets by name, and panics if the name is `panic`.
const GREETER: &str = r#"//! Says hello.
use hearth_sdk::{Request, Response, serve};

fn main() {
    serve(|| 0, handle)
}

fn handle(greeted: &mut u64, request: Request) -> Response {
    *greeted += 1;
    let name = request.param("name").unwrap_or("world");
    assert_ne!(name, "panic", "this name");
    Response::text(format!("hello, {name}: greeting number {greeted}\n"))
}
"#;

/// Name of the directory in which all of these projects are built, one after the other. Each build reuses what an
/// earlier one has compiled of the standard library and the SDK.
const PLACE: &str = "static";

/// Locked by the test that builds in that directory.
static BUILDS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    BUILDS.lock().unwrap_or_else(|held| held.into_inner())
}

/// Creates a project from this template in the directory of a platform.
fn project(place: &Place, template: &str) -> PathBuf {
    let mut new = command(HEARTH, place.path());
    let made = new.args(["new", "app", "--template", template]).output();
    assert!(made.unwrap().status.success());
    place.path().join("app")
}

/// Builds a project. Returns the path and the size of its binary.
fn build(project: &Path, args: &[&str]) -> (PathBuf, u64) {
    let mut build = command(HEARTH, project);
    let output = build.args(["build", "--json"]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("with the standard library built for it"),
        "{said}"
    );
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let binary = project.join(list[0]["binary"].as_str().unwrap());
    (binary, list[0]["bytes"].as_u64().unwrap())
}

/// Asserts that the binary is for this processor, needs no shared libraries, and contains no path of the build.
fn assert_stands_alone(binary: &Path, machine: &str) {
    let bytes = fs::read(binary).unwrap();
    let told = Command::new("readelf").args(["-lh"]).arg(binary).output();
    let told = String::from_utf8(told.unwrap().stdout).unwrap();
    assert!(told.contains(machine), "{told}");
    assert!(!told.contains("INTERP"), "{told}");
    let home = std::env::home_dir().unwrap();
    let temporary = std::env::temp_dir();
    for place in [home.as_path(), temporary.as_path()] {
        let place = place.to_str().unwrap().as_bytes();
        let named = bytes.windows(place.len() + 1);
        let named = named.filter(|window| window.starts_with(place) && window.ends_with(b"/"));
        assert_eq!(named.count(), 0, "{}", String::from_utf8_lossy(place));
    }
}

/// The memory of the only worker of the only function in bytes (PSS).
fn memory(platform: &Platform) -> u64 {
    let status = platform.status();
    let worker = &status["functions"][0]["workers"][0];
    worker["pss_bytes"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn hello_is_small_and_a_panic_costs_an_answer_or_with_smallest_the_worker() {
    let _alone = alone();
    for (args, most, status, layer) in [
        (&[][..], 500 * KIB, 500, "worker"),
        (&["--smallest"], 160 * KIB, 502, "worker"),
    ] {
        let place = Place::new_as(
            PLACE,
            &format!(
                "{HTTP_ONLY}\nfunctions:\n  app:\n    routes: [{{ path: \"/hello/{{name}}\" }}]\n    \
             binary: app/bin/app\n"
            ),
        );
        let app = project(&place, "hello");
        fs::write(app.join("src/main.rs"), GREETER).unwrap();
        let (binary, bytes) = build(&app, args);
        assert_stands_alone(&binary, "X86-64");
        let platform = Platform::start_in(place);
        let before = platform.worker("app");
        assert_eq!(
            platform.get("/hello/ada").text(),
            "hello, ada: greeting number 1\n"
        );
        let memory = memory(&platform);
        println!("hello {args:?}: {bytes} bytes, {memory} bytes of memory (PSS)");
        assert!(bytes < most, "{bytes}");
        // A third of the larger worker's memory is tables for panics.
        let most = if status == 500 { 384 * KIB } else { 200 * KIB };
        assert!(memory < most, "{memory}");
        // A POST is not retried on another worker.
        let answer = platform.ask("POST /hello/panic", &[], b"");
        answer.problem(status, layer);
        if status == 500 {
            assert_eq!(platform.worker("app"), before);
            platform.wait_for_record("what it says", |record| {
                record["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("this name"))
            });
        } else {
            platform.wait_ready();
            assert_ne!(platform.worker("app"), before);
        }
        assert_eq!(platform.get("/hello/bob").status(), 200);
    }
}

#[test]
fn a_worker_with_postgresql_is_small_too() {
    let _alone = alone();
    let server = Postgres::start();
    for (args, most) in [(&[][..], 1024 * KIB), (&["--smallest"], 768 * KIB)] {
        let place = Place::new_as(
            PLACE,
            &format!(
                "{HTTP_ONLY}\nfunctions:\n  app:\n    routes: [{{ path: /notes }}, {{ path: \"/notes/{{id}}\" }}]\n    \
             binary: app/bin/app\n    concurrency: 16\n    resources: {{ postgres: \"{}\" }}\n",
                server.address().replace("127.0.0.1", "localhost")
            ),
        );
        let app = project(&place, "postgres");
        let (binary, bytes) = build(&app, args);
        assert_stands_alone(&binary, "X86-64");
        let platform = Platform::start_in(place);
        let made = platform.ask("POST /notes", &[], br#"{"text":"remember"}"#);
        assert_eq!(made.status(), 201, "{}", made.text());
        let kept = platform.get(made.header("location").unwrap());
        assert_eq!(kept.text(), r#"{"text":"remember"}"#);
        let memory = memory(&platform);
        println!("postgres {args:?}: {bytes} bytes, {memory} bytes of memory (PSS)");
        assert!(bytes < most, "{bytes}");
        assert!(memory < 1024 * KIB, "{memory}");
    }
}

#[test]
fn a_worker_for_another_processor_is_put_where_it_is_not_taken_for_this_ones() {
    let _alone = alone();
    let place = Place::new_as(PLACE, "functions: {}");
    let app = project(&place, "hello");
    let (binary, bytes) = build(&app, &["--arch", "aarch64"]);
    assert!(binary.ends_with("dist/aarch64/bin/app"), "{binary:?}");
    assert_stands_alone(&binary, "AArch64");
    assert!(bytes < 500 * KIB, "{bytes}");
    assert!(!app.join("bin/app").exists());
    // The worker starts on an emulated processor, and finds no platform there.
    let began = Command::new("qemu-aarch64-static").arg(&binary).output();
    let began = began.unwrap();
    assert_eq!(began.status.code(), Some(2), "{began:?}");
    let said = String::from_utf8(began.stderr).unwrap();
    assert!(said.contains("this program is a Hearth function"), "{said}");
}

#[test]
fn a_build_command_learns_what_is_wanted_and_what_it_makes_is_looked_at() {
    let here = std::env::consts::ARCH;
    let place = |command: &str| {
        Place::new(&format!(
            "functions:\n  app:\n    routes: [{{ path: / }}]\n    binary: bin/app\n    build: {{ command: '{command}' }}\n"
        ))
    };
    let script = place(r##"echo "#!/bin/sh $HEARTH_ARCH" > "$HEARTH_BINARY""##);
    let built = script.hearth("build", &[]);
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(built.status.success(), "{said}");
    assert!(said.contains("is a script"), "{said}");
    let made = fs::read_to_string(script.path().join("bin/app")).unwrap();
    assert_eq!(made, format!("#!/bin/sh {here}\n"));

    // A script is the same for every processor. Each build copies its current contents.
    let plain = place("true");
    fs::create_dir(plain.path().join("bin")).unwrap();
    for text in ["#!/bin/sh\n", "#!/bin/sh -e\n"] {
        fs::write(plain.path().join("bin/app"), text).unwrap();
        assert!(
            plain
                .hearth("build", &["--arch", "aarch64"])
                .status
                .success()
        );
        let brought = fs::read_to_string(plain.path().join("dist/aarch64/bin/app"));
        assert_eq!(brought.unwrap(), text);
    }

    let dynamic = place("true");
    fs::create_dir(dynamic.path().join("bin")).unwrap();
    fs::copy(HEARTH, dynamic.path().join("bin/app")).unwrap();
    for (args, expect) in [
        (&[][..], "needs shared libraries"),
        (&["--arch", "aarch64"], "HEARTH_BINARY"),
    ] {
        let built = dynamic.hearth("build", args);
        let said = String::from_utf8(built.stderr).unwrap();
        assert_eq!(built.status.code(), Some(1));
        assert!(said.contains(expect), "{said}");
    }
    // A program for this machine's processor is refused for another one.
    let wrong = place(r#"cp "$(command -v sh)" "$HEARTH_BINARY""#);
    let built = wrong.hearth("build", &["--arch", "aarch64"]);
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(said.contains("for another processor"), "{said}");
}
