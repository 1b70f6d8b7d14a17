//! The effects of a function's `sandbox` and `limits` on its worker, beyond what the attack tests try.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::platform::{HTTP_ONLY, Place, Platform, hearth};
use crate::wait;

fn manifest(keys: &str) -> String {
    format!(
        "{HTTP_ONLY}\nfunctions:\n  probe:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    binary: probe\n{keys}"
    )
}

/// What `hearth status` reports about a mechanism of the sandbox.
fn mechanism(platform: &Platform, name: &str) -> serde_json::Value {
    let worker = platform.function("probe")["workers"][0].clone();
    let all = worker["sandbox"].as_array().unwrap().clone();
    let found = all.iter().find(|one| one["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {worker}"))
        .clone()
}

#[test]
fn status_says_of_each_mechanism_whether_it_holds_and_why_not() {
    let platform = Platform::start_in(Place::new(&manifest("")));
    for name in [
        "namespaces",
        "files",
        "capabilities",
        "no_new_privs",
        "landlock",
        "seccomp",
    ] {
        assert_eq!(mechanism(&platform, name)["enforced"], true, "{name}");
    }
    let user = mechanism(&platform, "user");
    assert_eq!(user["enforced"], geteuid().is_root(), "{user}");
    let memory = mechanism(&platform, "memory");
    assert!(
        memory["enforced"] == true || memory["detail"] != "",
        "{memory}"
    );
    let text = platform.place.hearth("status", &[]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\n  sandbox: "), "{text}");
    assert!(
        memory["enforced"] == true || text.contains("not enforced: memory: "),
        "{text}"
    );
}

/// The value of a line in the kernel's status of a process (proc_pid_status(5)).
fn told(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim().to_owned()
}

#[test]
fn the_kernel_says_the_same_of_the_gateway_and_of_a_worker() {
    let platform = Platform::start_in(Place::new(&manifest("")));
    let (gateway, worker) = (platform.gateway(), platform.worker("probe"));
    for pid in [gateway, worker] {
        assert_eq!(told(pid, "NoNewPrivs:"), "1");
        assert_eq!(told(pid, "Seccomp:"), "2", "a filter");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(told(pid, set), "0000000000000000", "{set}");
        }
        // The process is process 1 of its namespace.
        assert!(
            told(pid, "NSpid:").ends_with("\t1"),
            "{}",
            told(pid, "NSpid:")
        );
    }
    if geteuid().is_root() {
        let users = [told(gateway, "Uid:"), told(worker, "Uid:")];
        assert_eq!(
            users,
            [
                "99999\t99999\t99999\t99999",
                "100000\t100000\t100000\t100000"
            ]
        );
        assert_eq!(told(worker, "Groups:"), "");
    }
    // The supervisor itself has no filter.
    assert_eq!(told(platform.supervisor(), "Seccomp:"), "0");
}

#[test]
fn strict_is_a_refusal_where_something_cannot_be_enforced() {
    let lax = Platform::start_in(Place::new(&manifest("")));
    let all = lax.function("probe")["workers"][0]["sandbox"].clone();
    let missing = all
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["enforced"] == false);
    let missing = missing.map(|one| one["name"].as_str().unwrap().to_owned());
    let strict = Place::new(&manifest("    sandbox: { mode: strict }\n"));
    let Some(missing) = missing else {
        // This machine can enforce everything, so the strict function is served.
        assert_eq!(Platform::start_in(strict).get("/small").text(), "small");
        return;
    };
    let platform = Platform::begin(strict);
    let expect = format!("the sandbox is strict, and {missing} cannot be enforced: ");
    let error = wait::until("it is refused with its reason", || {
        let error = platform.function("probe")["last_error"].clone();
        error.as_str().map(str::to_owned)
    });
    assert!(error.contains(&expect), "{error}");
    let problem = wait::until("and so are requests", || {
        let answer = platform.get("/small");
        (answer.status() == 503).then_some(answer)
    });
    problem.problem(503, "worker");
}

#[test]
fn other_limits_make_another_worker_and_only_of_that_function() {
    let two = |memory: &str| {
        format!(
            "{}  other: {{ routes: [{{ path: /other }}], binary: probe }}\n",
            manifest(&format!("    limits: {{ memory: {memory} }}\n"))
        )
    };
    let platform = Platform::start_in(Place::new(&two("64MiB")));
    let before = (platform.worker("probe"), platform.worker("other"));
    platform.place.write(&two("65MiB"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_ne!(
        platform.wait_ready()["functions"][1]["workers"][0]["pid"],
        before.0
    );
    assert_eq!(platform.worker("other"), before.1);
    assert_eq!(
        platform.function("probe")["limits"]["limits.memory"],
        "65MiB"
    );
}

#[test]
fn a_sandbox_with_the_platforms_state_in_it_is_refused() {
    for (key, path) in [
        ("read", "."),
        ("write", ".hearth"),
        ("read", ".hearth/edge.yaml/tls"),
    ] {
        let place = Place::new(&manifest(&format!(
            "    sandbox: {{ {key}: [\"{path}\"] }}\n"
        )));
        fs::create_dir_all(place.path().join(".hearth/edge.yaml/tls")).unwrap();
        let output = place.up_to_its_end();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(&format!("functions.probe.sandbox.{key}: ")),
            "{said}"
        );
        assert!(said.contains("holds the platform's own state"), "{said}");
    }
}

/// Starts a platform with this script as `hearth-cell` beside `hearth`. Returns whether the script was used to make
/// sandboxes.
fn makes_cells(script: &str) -> bool {
    let place = Place::new(&manifest(""));
    let installed = place.path().join("installed");
    fs::create_dir(&installed).unwrap();
    fs::copy(hearth(), installed.join("hearth")).unwrap();
    let cell = installed.join("hearth-cell");
    fs::write(&cell, script).unwrap();
    fs::set_permissions(&cell, fs::Permissions::from_mode(0o755)).unwrap();
    let mut up = Command::new(installed.join("hearth"));
    let platform = Platform::run(place, &mut up, &[], &["--log", "json"]);
    assert_eq!(platform.get("/worker").head.status, 200);
    assert_eq!(mechanism(&platform, "seccomp")["enforced"], true);
    installed.join("hearth-cell.used").exists()
}

#[test]
fn a_small_program_of_other_sources_makes_no_cells() {
    let real = Path::new(env!("CARGO_BIN_EXE_hearth-cell")).display();
    let script = |sources: &str| {
        format!(
            "#!/bin/sh\n[ \"$1\" = sources ] && {{ {sources}; exit; }}\n: > \"$0.used\"\nexec {real} \"$@\"\n"
        )
    };
    assert!(makes_cells(&script(&format!("{real} sources"))));
    assert!(!makes_cells(&script("printf 0123456789abcdef")));
}
