//! Reloads: another manifest or another program for a running platform.

use nix::sys::signal::Signal;

use crate::load::Load;
use crate::platform::{Place, Platform};
use crate::wait;

fn manifest(path: &str) -> String {
    format!(
        r#"
gateway: {{ listen: {{ http: "127.0.0.1:0" }} }}
functions: {{ f: {{ routes: [{{ path: "{path}" }}, {{ path: /worker }}], binary: probe }} }}
"#
    )
}

fn started() -> Platform {
    let platform = Platform::start_in(Place::new(&manifest("/old")));
    assert_eq!(platform.get("/old").status(), 200);
    assert_eq!(platform.get("/new").status(), 404);
    platform
}

#[test]
fn a_good_manifest_is_served_on_the_same_port_once_reload_returns() {
    let platform = started();
    platform.place.write(&manifest("/new"));
    let reloaded = platform.place.hearth("reload", &[]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(platform.get("/new").status(), 200);
    assert_eq!(platform.get("/old").status(), 404);
    assert_eq!(platform.status()["generation"], 2);
}

#[test]
fn a_broken_manifest_is_refused_with_its_reason_and_the_old_one_serves_on_untouched() {
    let platform = started();
    let before = platform.get("/worker").json()["worker"].clone();
    let missing = manifest("/new").replace("binary: probe", "binary: missing");
    let broken = [
        ("functions: 7".to_owned(), "functions"),
        ("functions: [".to_owned(), "edge.yaml"),
        (missing, "missing does not exist"),
    ];
    for (text, reason) in broken {
        platform.place.write(&text);
        let reloaded = platform.place.hearth("reload", &[]);
        assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
        let said = String::from_utf8(reloaded.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
        assert_eq!(platform.get("/old").status(), 200);
        assert_eq!(platform.get("/worker").json()["worker"], before);
    }
    assert_eq!(platform.status()["generation"], 1);
}

#[test]
fn sighup_is_a_reload() {
    let platform = started();
    platform.place.write(&manifest("/new"));
    platform.signal(Signal::SIGHUP);
    wait::until("the new route is served", || {
        let answer = platform.connect();
        let mut answer = answer;
        answer
            .try_send(crate::http::request(
                "GET /new",
                &["Connection: close"],
                b"",
            ))
            .ok()?;
        (answer.try_head().ok()?.status == 200).then_some(())
    });
}

#[test]
fn sighup_with_a_broken_manifest_is_said_in_the_log_and_changes_nothing() {
    let platform = started();
    platform.place.write("functions: 7");
    platform.signal(Signal::SIGHUP);
    platform.wait_for_record("it is said", |record| {
        let message = record["message"].as_str().unwrap();
        record["level"] == "error" && message.starts_with("not reloaded")
    });
    assert_eq!(platform.get("/old").status(), 200);
}

#[test]
fn a_listener_that_the_new_manifest_adds_is_opened_and_the_old_one_kept() {
    let platform = started();
    let old = platform.http();
    let both = r#"listen: { http: "127.0.0.1:0", https: "127.0.0.1:0" }"#;
    let text = manifest("/old").replace(r#"listen: { http: "127.0.0.1:0" }"#, both);
    platform.place.write(&text);
    let reloaded = platform.place.hearth("reload", &[]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    let status = platform.status();
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 2, "{status}");
    assert_eq!(listeners[0]["address"], old.to_string());
    let url = format!("https://{}/old", listeners[1]["address"].as_str().unwrap());
    assert_eq!(crate::curl::curl(&["--insecure", &url]).exit, 0);
}

/// Two functions with these environments.
fn two(a: &str, b: &str) -> String {
    format!(
        r#"
gateway: {{ listen: {{ http: "127.0.0.1:0" }} }}
functions:
  a: {{ routes: [{{ path: "/{{path+}}" }}], binary: probe, env: {a} }}
  b: {{ domains: [b.example], routes: [{{ path: "/{{path+}}" }}], binary: probe, env: {b} }}
"#
    )
}

#[test]
fn reloads_under_load_lose_no_request() {
    let platform = Platform::start_in(Place::new(&two("{ N: '0' }", "{}")));
    let load = Load::start(
        platform.http(),
        &["GET /worker", "POST /echo", "GET /sleep?ms=3"],
    );
    for round in 1..=10 {
        let before = load.answered();
        wait::until("requests go on", || {
            (load.answered() > before + 50).then_some(())
        });
        platform
            .place
            .write(&two(&format!("{{ N: '{round}' }}"), "{}"));
        let reloaded = platform.place.hearth("reload", &[]);
        assert!(reloaded.status.success(), "{reloaded:?}");
        assert_eq!(platform.get("/env?N").json()["env"], round.to_string());
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(platform.status()["generation"], 11);
}

#[test]
fn only_what_has_changed_gets_new_workers_and_the_rest_keeps_its_state() {
    let platform = Platform::start_in(Place::new(&two("{}", "{}")));
    let old = (platform.worker("a"), platform.worker("b"));
    platform.place.write(&two("{ N: '1' }", "{}"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    wait::until("the replaced worker is gone", || {
        let workers = platform.function("a")["workers"].clone();
        (workers.as_array()?.len() == 1).then_some(())
    });
    assert_ne!(platform.worker("a"), old.0);
    assert_eq!(platform.worker("b"), old.1);
}

#[test]
fn a_reload_of_what_is_the_same_changes_nothing() {
    let platform = started();
    let before = platform.status();
    assert!(platform.place.hearth("reload", &[]).status.success());
    let after = platform.status();
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(
        after["functions"][0]["workers"][0]["pid"],
        before["functions"][0]["workers"][0]["pid"]
    );
}

#[test]
fn a_function_that_cannot_start_is_refused_with_its_reason_and_the_old_one_serves_on() {
    let platform = Platform::start_in(Place::new(&two("{}", "{}")));
    let before = platform.worker_number("a");
    let broken = [
        ("{ FAIL_START: no key }", "a: could not start: "),
        ("{ FAIL_START: again }", "again"),
    ];
    for (env, reason) in broken {
        platform.place.write(&two(env, "{ N: '1' }"));
        let reloaded = platform.place.hearth("reload", &[]);
        assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
        let said = String::from_utf8(reloaded.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
        assert_eq!(platform.get("/worker").json()["worker"], before);
        assert_eq!(
            platform.get("/env?N").json()["env"],
            serde_json::Value::Null
        );
    }
    assert_eq!(platform.status()["generation"], 1);
}

#[test]
fn a_program_that_never_says_it_is_ready_is_refused() {
    let platform = started();
    let program = platform.place.path().join("mute");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    platform
        .place
        .write(&manifest("/old").replace("binary: probe", "binary: mute"));
    let reloaded = platform.place.hearth("reload", &[]);
    assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
    let said = String::from_utf8(reloaded.stderr).unwrap();
    assert!(said.contains("f: was not ready within 10 s"), "{said}");
    assert_eq!(platform.get("/old").status(), 200);
    // The worker that was started for the reload has ended, too.
    wait::until("it is gone", || {
        let workers = platform.function("f")["workers"].clone();
        (workers.as_array()?.len() == 1).then_some(())
    });
}

#[test]
fn what_was_begun_is_finished_by_the_worker_that_began_it() {
    let platform = Platform::start_in(Place::new(&two("{ N: old }", "{}")));
    let mut slow = platform.connect();
    slow.send(crate::http::request("GET /sleep?ms=1500", &[], b""));
    let mut drip = platform.connect();
    drip.send(crate::http::request(
        "GET /drip?pieces=12",
        &["Host: b.example"],
        b"",
    ));
    assert_eq!(drip.head().status, 200);
    platform.place.write(&two("{ N: new }", "{ N: new }"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_eq!(platform.get("/env?N").json()["env"], "new");
    assert_eq!(slow.answer("GET").status(), 200);
    let mut pieces = 0;
    while drip.chunk().unwrap().is_some() {
        pieces += 1;
    }
    assert!(pieces > 1, "{pieces}");
    wait::until("the replaced workers are gone", || {
        let one = |name| Some(platform.function(name)["workers"].as_array()?.len() == 1);
        (one("a")? && one("b")?).then_some(())
    });
}

#[test]
fn a_changed_manifest_and_a_changed_program_are_found_by_themselves() {
    let place = Place::new(&manifest("/old").replace("binary: probe", "binary: own"));
    let (probe, own) = (place.path().join("probe"), place.path().join("own"));
    std::fs::copy(&probe, &own).unwrap();
    let platform = Platform::start_in(place);
    let first = platform.worker("f");
    let fresh = platform.place.path().join("fresh");
    std::fs::copy(&probe, &fresh).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&fresh)
        .unwrap();
    std::io::Write::write_all(&mut file, b"another").unwrap();
    drop(file);
    std::fs::rename(&fresh, &own).unwrap();
    let generation = |number: u64| {
        wait::until("the next generation is served", || {
            (platform.status()["generation"] == number).then_some(())
        });
    };
    generation(2);
    wait::until("the replaced worker is gone", || {
        let workers = platform.function("f")["workers"].clone();
        (workers.as_array()?.len() == 1).then_some(())
    });
    assert_ne!(platform.worker("f"), first);
    platform
        .place
        .write(&manifest("/new").replace("binary: probe", "binary: own"));
    generation(3);
    wait::until("the new route is served", || {
        (platform.get("/new").status() == 200).then_some(())
    });
}

#[test]
fn a_program_that_is_written_anew_and_is_the_same_changes_nothing() {
    let place = Place::new(&manifest("/old").replace("binary: probe", "binary: own"));
    let (probe, own) = (place.path().join("probe"), place.path().join("own"));
    std::fs::copy(&probe, &own).unwrap();
    let platform = Platform::start_in(place);
    let worker = platform.worker("f");
    std::fs::remove_file(&own).unwrap();
    std::fs::copy(&probe, &own).unwrap();
    assert!(platform.place.hearth("reload", &[]).status.success());
    assert_eq!(platform.worker("f"), worker);
    assert_eq!(platform.status()["generation"], 1);
}

#[test]
fn a_function_that_is_taken_away_answers_no_more_and_its_worker_ends() {
    let platform = Platform::start_in(Place::new(&two("{}", "{}")));
    let gone = platform.worker("b");
    let only_a = two("{}", "{}");
    let only_a = only_a.lines().filter(|line| !line.starts_with("  b:"));
    platform.place.write(&only_a.collect::<Vec<_>>().join("\n"));
    assert!(platform.place.hearth("reload", &[]).status.success());
    crate::process::wait_until_gone(&[gone], std::time::Duration::from_secs(5));
    assert_eq!(platform.get("/worker").status(), 200);
}
