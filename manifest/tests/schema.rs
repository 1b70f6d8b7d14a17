//! Tests that the JSON Schema and `parse` agree on everything that a schema can express.

// The lint exempts test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use hearth_manifest::{Kind, parse, schema};

/// Whether `parse` and the schema accept a text.
fn verdicts(validator: &jsonschema::Validator, text: &str) -> (bool, bool) {
    let parsed = parse("edge.yaml", text.as_bytes());
    let instance: serde_json::Value = serde_yaml::from_str(text).unwrap();
    (parsed.is_ok(), validator.is_valid(&instance))
}

fn validator() -> jsonschema::Validator {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn good_and_bad_documents_are_the_same_to_both() {
    let validator = validator();
    let check = |text: String, expect: bool| {
        assert_eq!(verdicts(&validator, &text), (expect, expect), "{text}");
    };
    let function = |keys: &str, expect: bool| {
        check(
            format!(
                "service: s\nfunctions: {{ f: {{ binary: b, routes: [{{ path: / }}], {keys} }} }}\n"
            ),
            expect,
        );
    };
    let gateway = |keys: &str, expect: bool| {
        let rest = "functions: { f: { binary: b, routes: [{ path: / }] } }";
        check(
            format!("service: s\ngateway: {{ {keys} }}\n{rest}\n"),
            expect,
        );
    };
    let route = |keys: &str, expect: bool| {
        check(
            format!("service: s\nfunctions: {{ f: {{ binary: b, routes: [{{ {keys} }}] }} }}\n"),
            expect,
        );
    };

    check(include_str!("first.yaml").to_owned(), true);
    check(include_str!("full.yaml").to_owned(), true);
    check(include_str!("full.printed.yaml").to_owned(), true);
    check("service: s\n".to_owned(), false);
    check(
        "functions: { f: { binary: b, routes: [{ path: / }] } }\n".to_owned(),
        false,
    );
    check("service: s\nfunctions: {}\n".to_owned(), false);
    check(
        "service: S\nfunctions: { f: { binary: b, routes: [{ path: / }] } }\n".to_owned(),
        false,
    );
    check(
        "service: s\nfunctions: { F: { binary: b, routes: [{ path: / }] } }\n".to_owned(),
        false,
    );
    check(
        "service: s\nfunctions: { f: { binary: b } }\n".to_owned(),
        false,
    );
    check(
        "service: s\nfunctions: { f: { routes: [{ path: / }] } }\n".to_owned(),
        false,
    );
    check(
        "service: s\nfunctions: { f: { binary: \"\", routes: [{ path: / }] } }\n".to_owned(),
        false,
    );

    for (keys, expect) in [
        ("", true),
        ("listen: { http: \":80\" }", true),
        ("listen: { https: \"[::1]:0\", http: \"off\" }", true),
        ("listen: { http: 80 }", false),
        ("listen: { http: localhost:80 }", false),
        ("listen: { http: 127.0.0.1 }", false),
        ("listen: { htp: \":80\" }", false),
        ("tls: {}", true),
        ("tls: { acme: {} }", false),
        (
            "tls: { certificates: [{ domains: [a.b], cert: c, key: k }] }",
            true,
        ),
        (
            "tls: { certificates: [{ domains: [], cert: c, key: k }] }",
            false,
        ),
        (
            "tls: { certificates: [{ domains: [a.b], cert: c }] }",
            false,
        ),
        ("limits: { header_bytes: 1024 }", true),
        ("limits: { header_bytes: 1023 }", false),
        ("limits: { header_bytes: 32KiB }", true),
        ("limits: { header_bytes: 32K }", false),
        ("limits: { header_bytes: 1.5 }", false),
        ("limits: { connections: 1000000, queue: 0 }", true),
        ("limits: { connections: 0 }", false),
        ("limits: { queue: -1 }", false),
        ("limits: { queue: \"1\" }", false),
        ("access_log: false", true),
        ("access_log: 1", false),
        ("threads: 64", true),
        ("threads: 65", false),
    ] {
        gateway(keys, expect);
    }
    for (keys, expect) in [
        ("domains: []", true),
        (
            "domains: [a.example.com, \"*.example.com\", localhost, 127.0.0.1, \"[::1]\", A.B.]",
            true,
        ),
        ("domains: a.example.com", false),
        ("domains: [\"*\"]", false),
        ("domains: [\"a.*.b\"]", false),
        ("domains: [\"a:80\"]", false),
        ("domains: [\"a/b\"]", false),
        ("domains: [a..b]", false),
        ("domains: [a_b.c]", false),
        ("domains: [-a.b]", false),
        ("domains: [5]", false),
        ("build: { command: make }", true),
        ("build: {}", false),
        ("build: { command: make, watch: [src] }", true),
        ("build: { command: make, watch: src }", false),
        ("env: { A_1: x, b: \"\" }", true),
        ("env: { A: 1 }", false),
        ("env: { A-B: x }", false),
        ("env: { A: { secret: x } }", true),
        ("env: { A: { secret: 1 } }", false),
        ("env: { A: { secret: x, other: y } }", false),
        ("secrets: [a, b-c]", true),
        ("secrets: [-a]", false),
        ("scale: { min: 64 }", true),
        ("scale: { min: 65 }", false),
        ("scale: { min: 0 }", true),
        ("scale: { min: 0, max: 0 }", false),
        ("scale: { max: 4, idle: 5s }", true),
        ("scale: { idle: 5 }", false),
        ("health: { path: /healthz }", true),
        ("health: { path: healthz }", false),
        ("health: {}", false),
        ("concurrency: 1024", true),
        ("concurrency: 1025", false),
        ("timeout: 10s", true),
        ("timeout: 10", false),
        ("timeout: 1.5s", false),
        (
            "resources: { a: ~, b: 1, c: [x, { y: 1.5 }], d: { secret: x, other: y } }",
            true,
        ),
        ("resources: { a: { secret: x } }", true),
        ("resources: { a: { secret: [x] } }", false),
        ("resources: { a: [{ b: { secret: x } }] }", true),
        ("resources: { a: [{ b: { secret: x y } }] }", false),
        ("resources: { a-b: 1 }", false),
        ("limits: {}", true),
        (
            "limits: { memory: 32MiB, cpu: 0.5, pids: 1, open_files: 16, tmp: 0 }",
            true,
        ),
        ("limits: { cpu: 2 }", true),
        ("limits: { cpu: 0 }", false),
        ("limits: { cpu: \"1\" }", false),
        ("limits: { cpu: .nan }", false),
        ("limits: { pids: 0 }", false),
        ("sandbox: {}", true),
        (
            "sandbox: { mode: strict, read: [a], write: [b/c], connect: [1, 65535] }",
            true,
        ),
        ("sandbox: { mode: lax }", false),
        ("sandbox: { connect: [0] }", false),
        ("sandbox: { read: [\"\"] }", false),
        ("cors: {}", false),
        ("health: {}", false),
        ("zebra: 1", false),
        ("env: ~", false),
    ] {
        function(keys, expect);
    }
    for (keys, expect) in [
        ("path: /", true),
        ("path: /a/b.c/, method: GET", true),
        ("path: \"/a/{id}/{rest+}\", method: ANY", true),
        ("path: \"/a%20b\", method: PURGE", true),
        ("path: /café", true),
        ("path: a", false),
        ("path: //", false),
        ("path: /a//b", false),
        ("path: \"/a?b\"", false),
        ("path: \"/a#b\"", false),
        ("path: \"/a b\"", false),
        ("path: \"/x{id}\"", false),
        ("path: \"/{a-b}\"", false),
        ("path: \"/{a+}/b\"", false),
        ("method: GET", false),
        ("path: /, method: get", false),
        ("path: /, method: TRACE", false),
        ("path: /, method: \"\"", false),
        ("path: /, methods: GET", false),
    ] {
        route(keys, expect);
    }
}

/// The schema rejects every case of `refused.txt` that has an unknown or a missing key.
#[test]
fn the_schema_knows_all_kinds_of_faults_but_conflicts_and_fine_print() {
    let validator = validator();
    for case in include_str!("refused.txt").split("== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("=>\n").unwrap();
        let faults = parse("edge.yaml", text.as_bytes()).unwrap_err().faults;
        let known = |kind: Kind| matches!(kind, Kind::UnknownKey | Kind::Missing);
        if faults.iter().any(|fault| known(fault.kind)) {
            let instance: serde_json::Value = serde_yaml::from_str(text).unwrap();
            assert!(!validator.is_valid(&instance), "{name}");
        }
    }
}
