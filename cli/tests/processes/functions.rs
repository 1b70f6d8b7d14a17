//! What a worker gets from the platform, and the seed's worker, which has its own request loop.

use std::fs;

use serde_json::json;

use crate::platform::Platform;

#[test]
fn env_and_resources_reach_the_worker_and_never_its_process_environment() {
    let functions = r#"
functions:
  f:
    routes: [{ path: /env }]
    binary: probe
    env: { TOKEN_KEY: "a value that must stay hidden" }
    resources:
      postgres: "postgres://shop:hidden-password@db.example/shop"
      search: { url: "http://localhost:7700", timeout_ms: 250 }
"#;
    let platform = Platform::start(functions);
    let token = platform.get("/env?TOKEN_KEY").json();
    assert_eq!(token["env"], "a value that must stay hidden");
    assert_eq!(token["resource"], json!(null));
    let search = platform.get("/env?search").json();
    let expect = json!({ "url": "http://localhost:7700", "timeout_ms": 250 });
    assert_eq!(search["resource"], expect);
    let postgres = platform.get("/env?postgres").json();
    let expect = "postgres://shop:hidden-password@db.example/shop";
    assert_eq!(postgres["resource"], expect);

    let pid = platform.worker("f");
    let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    // The control: the process environment can be read here.
    assert!(environ.contains("PATH="), "{environ}");
    for place in [environ, arguments] {
        assert!(!place.contains("hidden"), "{place}");
        assert!(!place.contains("TOKEN_KEY"), "{place}");
    }
}

#[test]
fn a_worker_gets_nothing_of_the_environment_that_up_was_started_in() {
    let platform = Platform::start(crate::platform::PROBE);
    let seen = platform.get("/env?HOME").json();
    assert_eq!(seen["env"], json!(null));
    let names: Vec<&str> = seen["process_environment"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[0].as_str().unwrap())
        .collect();
    // This test has CARGO in its environment and passes it to `hearth up`.
    assert!(std::env::var_os("CARGO").is_some());
    let passed_on = ["PATH", "TZ", "LANG", "LC_ALL", "RUST_BACKTRACE"];
    assert!(
        names.iter().all(|name| passed_on.contains(name)),
        "{names:?}"
    );
}

#[test]
fn a_worker_starts_with_its_control_socket_and_no_other_descriptor_of_the_platform() {
    let platform = Platform::start(crate::platform::PROBE);
    let pid = platform.worker("probe");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets: Vec<String> = descriptors
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .map(|target| target.to_str().unwrap().to_owned())
        .collect();
    let sockets = targets
        .iter()
        .filter(|target| target.starts_with("socket:"));
    let threads = platform.status()["gateway"]["pid"].as_u64().map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.count()
    });
    // One control socket, and one data socket per thread of the gateway.
    assert_eq!(Some(sockets.count() - 1), threads, "{targets:?}");
    // In addition stdin, stdout and stderr. Descriptors that `up` was started with are not passed on.
    assert_eq!(targets.len() - 1, threads.unwrap() + 3, "{targets:?}");
}

#[test]
fn the_seeds_own_loop_serves_and_keeps_its_state() {
    let functions = r#"
functions:
  f: { routes: [{ path: "/items/{id}", method: GET }], binary: skeleton }
"#;
    let platform = Platform::start(functions);
    assert_eq!(platform.get("/items/7").text(), "GET /items/7 number 1");
    assert_eq!(platform.get("/items/8").text(), "GET /items/8 number 2");
    assert_eq!(platform.ask("POST /items/8", &[], b"").status(), 405);
    let (status, _place) = platform.end(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_function_started_by_hand_says_who_starts_it() {
    let platform = Platform::start(crate::platform::PROBE);
    for example in ["probe", "skeleton"] {
        let program = platform.place.path().join(example);
        let output = std::process::Command::new(program).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("`hearth up` starts it"), "{said}");
    }
}
