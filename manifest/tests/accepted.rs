//! Tests of accepted manifests: their values, their printed form and the notes about them.

// The lint exempts test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hearth_manifest::{Domain, Manifest, Parsed, parse};

/// A minimal manifest with these additional keys of its function.
fn function(keys: &str) -> String {
    format!("service: s\nfunctions: {{ f: {{ binary: b, routes: [{{ path: / }}], {keys} }} }}\n")
}

/// A minimal manifest with these keys of the gateway.
fn gateway(keys: &str) -> String {
    format!(
        "service: s\ngateway: {{ {keys} }}\nfunctions: {{ f: {{ binary: b, routes: [{{ path: / }}] }} }}\n"
    )
}

fn accepted(text: &str) -> Parsed {
    match parse("edge.yaml", text.as_bytes()) {
        Ok(parsed) => parsed,
        Err(faults) => panic!("{faults}\n{text}"),
    }
}

/// Asserts that the printed manifest equals the golden file and parses to the same manifest.
/// `UPDATE_GOLDEN=1 cargo test -p hearth-manifest` rewrites the golden file.
fn check(input: &str, golden: &str) -> Manifest {
    let manifest = accepted(input).manifest;
    let printed = manifest.to_yaml();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(golden);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    assert_eq!(printed, std::fs::read_to_string(&file).unwrap());
    assert_eq!(accepted(&printed).manifest, manifest);
    let bytes = rmp_serde::to_vec_named(&manifest).unwrap();
    assert_eq!(rmp_serde::from_slice::<Manifest>(&bytes).unwrap(), manifest);
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    manifest
}

#[test]
fn the_first_example_of_the_design_is_valid_as_it_stands() {
    let input = include_str!("first.yaml");
    check(input, "first.printed.yaml");
    let notes: Vec<_> = accepted(input)
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    let note = "a placeholder, not an address; the function will use what it has built in";
    assert_eq!(
        notes,
        [
            format!("edge.yaml:11:17: functions.auth_login.resources.postgres: {note}"),
            format!("edge.yaml:12:14: functions.auth_login.resources.redis: {note}"),
            format!("edge.yaml:23:17: functions.items_api.resources.postgres: {note}"),
        ]
    );
}

#[test]
fn every_key_is_understood() {
    let manifest = check(include_str!("full.yaml"), "full.printed.yaml");
    let items = &manifest.functions["items"];
    assert_eq!(items.timeout, Duration::from_millis(2500));
    assert_eq!(
        (items.scale.min, items.scale.max, items.concurrency),
        (2, 6, 8)
    );
    assert_eq!(items.scale.idle, Duration::from_secs(120));
    assert_eq!(items.start_timeout, Duration::from_secs(30));
    assert_eq!(
        items.domains[1],
        Domain::Wildcard("shop.example.com".to_owned())
    );
    assert_eq!(items.routes[2].method, None);
    assert_eq!(items.build.as_ref().unwrap().command, "make items");
    assert_eq!(items.env["PAGE"].text(), Some("50"));
    assert_eq!(items.resources["search"]["hosts"][1], 7);
    assert_eq!(manifest.gateway.limits.header_bytes, 16 << 10);
    assert_eq!(manifest.gateway.threads, Some(2));
    assert!(!manifest.gateway.access_log);
    assert_eq!(
        manifest.gateway.tls.certificates[0].cert.to_str(),
        Some("/etc/tls/shop.pem")
    );
}

#[test]
fn defaults_are_those_of_the_reference() {
    let manifest = accepted(&function("")).manifest;
    let gateway = &manifest.gateway;
    assert_eq!(gateway.listen.http, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(
        gateway.listen.https,
        Some("127.0.0.1:8443".parse().unwrap())
    );
    assert_eq!(
        (gateway.limits.header_bytes, gateway.limits.body_bytes),
        (32 << 10, 10 << 20)
    );
    assert_eq!(
        (gateway.limits.connections, gateway.limits.queue),
        (10_000, 1024)
    );
    assert!(
        !gateway.access_log && gateway.threads.is_none() && gateway.tls.certificates.is_empty()
    );
    let f = &manifest.functions["f"];
    assert!(
        f.domains.is_empty() && f.build.is_none() && f.env.is_empty() && f.resources.is_empty()
    );
    assert_eq!((f.scale.min, f.scale.max, f.concurrency), (1, 1, 1));
    assert_eq!(
        (f.timeout, f.routes[0].method.as_deref()),
        (Duration::from_secs(10), None)
    );
}

#[test]
fn listeners_are_those_that_are_named() {
    let check = |keys: &str, http: Option<&str>, https: Option<&str>| {
        let listen = accepted(&gateway(keys)).manifest.gateway.listen;
        let expect = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        assert_eq!(
            (listen.http, listen.https),
            (expect(http), expect(https)),
            "{keys}"
        );
    };
    check("", Some("127.0.0.1:8080"), Some("127.0.0.1:8443"));
    check("listen: { http: \":80\" }", Some("[::]:80"), None);
    check("listen: { https: \"[::]:443\" }", None, Some("[::]:443"));
    check(
        "listen: { http: off, https: 0.0.0.0:443 }",
        None,
        Some("0.0.0.0:443"),
    );
    check(
        "listen: { http: \"off\", https: :443 }",
        None,
        Some("[::]:443"),
    );
    check(
        "listen: { http: 127.0.0.1:0, https: 127.0.0.1:0 }",
        Some("127.0.0.1:0"),
        Some("127.0.0.1:0"),
    );
    check(
        "listen: { http: 127.0.0.1:80, https: 127.0.0.2:80 }",
        Some("127.0.0.1:80"),
        Some("127.0.0.2:80"),
    );
}

#[test]
fn bounds_are_inclusive() {
    for keys in [
        "limits: { header_bytes: 1024, body_bytes: 0, connections: 1, queue: 0 }, threads: 1",
        "limits: { header_bytes: 64KiB, body_bytes: 1024GiB, connections: 1000000, queue: 1000000 }, threads: 64",
    ] {
        accepted(&gateway(keys));
    }
    for keys in [
        "concurrency: 1, timeout: 1ms, scale: { min: 1, max: 1 }",
        "concurrency: 1024, timeout: 1h, scale: { min: 64 }",
        "timeout: 3600s, scale: { min: 3, max: 3 }, concurrency: 0x10",
        "start_timeout: 100ms, scale: { min: 0, idle: 24h }",
        "start_timeout: 10m, scale: { max: 64, idle: 100ms }",
        "health: { path: /, interval: 100ms, timeout: 10ms, failures: 1 }",
        "health: { path: /a/b-c, interval: 1h, timeout: 1m, failures: 100 }",
    ] {
        accepted(&function(keys));
    }
}

#[test]
fn a_function_that_may_have_no_worker_may_have_one() {
    let manifest = accepted(&function("scale: { min: 0 }"));
    let scale = manifest.manifest.functions["f"].scale;
    assert_eq!((scale.min, scale.max), (0, 1));
}

#[test]
fn what_only_looks_alike_is_no_conflict() {
    accepted(
        r#"
service: s
functions:
  a:
    domains: [a.example.com, "*.example.com"]
    routes:
      - { path: "/i/{id}", method: GET }
      - { path: "/i/{id}", method: HEAD }
      - { path: "/i/{id}" }
      - { path: "/i/{id+}", method: GET }
      - { path: "/i/id", method: GET }
      - { path: "/i/{id}/", method: GET }
      - { path: "/I/id", method: GET }
    binary: a
  b: { domains: [b.example.com], routes: [{ path: "/i/{id}", method: GET }], binary: b }
  c: { routes: [{ path: "/i/{id}", method: GET }], binary: c }
"#,
    );
}

#[test]
fn yaml_is_read_as_version_1_2() {
    let env = |value: &str| {
        let text = format!(
            "service: s\nfunctions:\n  f:\n    binary: b\n    routes: [{{ path: / }}]\n    env:\n      A: {value}\n"
        );
        let manifest = accepted(&text).manifest;
        manifest.functions["f"].env["A"].text().unwrap().to_owned()
    };
    assert_eq!(env("yes"), "yes");
    assert_eq!(env("off"), "off");
    assert_eq!(env("1:30"), "1:30");
    assert_eq!(env("'8080'"), "8080");
    assert_eq!(env("\"true\""), "true");
    assert_eq!(env("\"a\\tb\""), "a\tb");
    assert_eq!(env("a # comment"), "a");
    assert_eq!(env("|\n        two\n        lines"), "two\nlines\n");
    assert_eq!(env(">-\n        one\n        line"), "one line");
    assert_eq!(env("\"\""), "");
}

#[test]
fn marks_carriage_returns_and_documents_do_not_matter() {
    let plain = accepted(&function("")).manifest;
    let text = function("");
    for other in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("# a comment\n---\n{text}...\n"),
        format!("%YAML 1.2\n---\n{text}"),
    ] {
        assert_eq!(accepted(&other).manifest, plain, "{other:?}");
    }
}

#[test]
fn notes_are_no_faults() {
    let check = |text: &str, expect: &[&str]| {
        let notes: Vec<_> = accepted(text)
            .notes
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(notes, expect);
    };
    check(&function(""), &[]);
    check(
        &function("resources: { a: [\"x\", \"y...\"] }"),
        &[
            "edge.yaml:2:75: functions.f.resources.a[1]: a placeholder, not an address; the function will use what it has built in",
        ],
    );
    check(
        "service: s\nfunctions: { f: { binary: b, routes: [{ path: /, method: GTE }] } }",
        &[
            "edge.yaml:2:58: functions.f.routes[0].method: `GTE` is no usual method, did you mean `GET`?",
        ],
    );
    check(
        &gateway(
            "listen: { http: :80 }, tls: { certificates: [{ domains: [a.b], cert: c, key: k }] }",
        ),
        &[
            "edge.yaml:2:56: gateway.tls.certificates: certificates without a listener: `gateway.listen.https` is off",
        ],
    );
}

#[test]
fn line_breaks_of_yaml_1_1_survive_print() {
    for text in [
        "\u{2028} x",
        "a\u{85}\u{2029}",
        "\u{feff}\u{7f}\u{2028}\u{1}",
    ] {
        let mut manifest = accepted(&function("")).manifest;
        let resources = &mut manifest.functions.get_mut("f").unwrap().resources;
        resources.insert("a".to_owned(), text.into());
        assert_eq!(accepted(&manifest.to_yaml()).manifest, manifest);
    }
}
