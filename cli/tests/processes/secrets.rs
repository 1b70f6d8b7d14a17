//! Secrets: where their values come from, which workers get them, and that they are visible nowhere else.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::{process, wait};

const FUNCTION: &str = r#"
functions:
  f:
    routes: [{ path: /env }]
    binary: probe
    env: { API_KEY: { secret: api_key } }
    resources: { orders_db: { postgres: { secret: orders-url } } }
    secrets: [api_key, HOME]
"#;

fn place() -> Place {
    Place::new(&format!("{HTTP_ONLY}\n{FUNCTION}"))
}

fn set(place: &Place, name: &str, value: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.args(["secret", "set", name]).arg(place.manifest());
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // An invalid name is refused before the value is read, so writing may fail.
    let _ = input.write_all(value.as_bytes());
    drop(input);
    child.wait_with_output().unwrap()
}

#[test]
fn values_reach_the_worker_that_refers_to_them_and_are_seen_nowhere_else() {
    let place = place();
    assert!(set(&place, "api_key", "hidden-1\n").status.success());
    let url = "postgres://shop:hidden-2@db.example/shop";
    assert!(set(&place, "orders-url", url).status.success());
    let platform = Platform::start_in(place);
    let key = platform.get("/env?API_KEY").json();
    assert_eq!(key["env"], "hidden-1");
    let orders = platform.get("/env?orders_db").json();
    assert_eq!(orders["resource"]["postgres"], url);
    assert_eq!(platform.get("/env?api_key").json()["secret"], "hidden-1");
    let home = platform.get("/env?HOME").json()["secret"].clone();
    assert_eq!(home, std::env::var("HOME").unwrap());

    let status = platform.status().to_string();
    let mut places = vec![status, format!("{:?}", platform.logs())];
    let checked = platform.place.hearth("check", &["--print"]);
    places.push(String::from_utf8(checked.stdout).unwrap());
    for pid in process::children(platform.supervisor()) {
        for file in ["environ", "cmdline"] {
            places.push(fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap());
        }
    }
    assert!(places.len() > 6);
    for text in places {
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[test]
fn a_changed_value_makes_new_workers_and_a_missing_one_is_refused() {
    let place = place();
    set(&place, "api_key", "one");
    set(&place, "orders-url", "two");
    let platform = Platform::start_in(place);
    let before = platform.worker("f");
    set(&platform.place, "api_key", "three");
    wait::until("the new value is served", || {
        let key = platform.get("/env?API_KEY").json();
        (key["env"] == "three").then_some(())
    });
    // The old worker is still being drained.
    platform.wait_ready();
    let after = platform.worker("f");
    assert_ne!(after, before);

    let secrets = platform.place.state().join("secrets");
    fs::write(secrets.join("api_key"), [0xff]).unwrap();
    let refused = platform.place.hearth("reload", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("functions.f.env.API_KEY"), "{said}");
    assert!(said.contains("is not UTF-8"), "{said}");
    assert_eq!(platform.worker("f"), after);
}

#[test]
fn a_start_without_a_value_says_where_it_was_looked_for() {
    let place = place();
    set(&place, "api_key", "one");
    let listed = std::process::Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(["secret", "list"])
        .arg(place.manifest())
        .output()
        .unwrap();
    assert_eq!(listed.stdout, b"api_key\n");
    assert_eq!(listed.stderr, b"missing: orders-url\n");

    let output = place.up_to_its_end();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        "functions.f.resources.orders_db.postgres: secret `orders-url`",
        "secrets/orders-url",
        "hearth secret set",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_value_that_is_none_is_not_kept() {
    let place = place();
    for (name, value, expect) in [
        ("api_key", "", "no value came on stdin"),
        ("../api_key", "x", "cannot be the name of a secret"),
    ] {
        let output = set(&place, name, value);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expect), "{said}");
    }
    assert!(!place.state().join("secrets").exists());
}
