//! Another manifest for a running platform.

use nix::sys::signal::Signal;

use crate::platform::{Place, Platform};
use crate::wait;

fn manifest(path: &str) -> String {
    format!(
        r#"
gateway: {{ listen: {{ http: "127.0.0.1:0" }} }}
functions: {{ f: {{ routes: [{{ path: "{path}" }}, {{ path: /pid }}], binary: probe }} }}
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
    let before = platform.get("/pid").json()["pid"].clone();
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
        assert_eq!(platform.get("/pid").json()["pid"], before);
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
