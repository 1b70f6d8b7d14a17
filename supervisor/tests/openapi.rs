//! Checks that `docs/control-api.yaml` and the code agree in both directions: every route with its parameters, and
//! every field of every response.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hearth_supervisor::api::route::{MOST_LINES, ROUTES, route};
use hearth_supervisor::api::{
    EditionStatus, FunctionStatus, ListenerStatus, Problem, ProcessStatus, Reloaded, Requests,
    RolledBack, ScaleStatus, Skipped, Status, VersionStatus, VersionsStatus, WorkerStatus,
};
use hearth_supervisor::cell::Mechanism;
use hearth_supervisor::device::{Asked, Boot, DeviceStatus, Network};
use hearth_supervisor::journal::Record;
use hearth_supervisor::versions::Change;
use serde::Serialize;
use serde_json::{Value, json};

fn document() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/control-api.yaml");
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Names of an object's members.
fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

fn process() -> ProcessStatus {
    ProcessStatus {
        pid: Some(7),
        rss_bytes: Some(1),
        pss_bytes: Some(1),
        cpu_seconds: Some(0.5),
        cpu_share: Some(0.5),
        uptime_ms: Some(1),
    }
}

fn requests() -> Requests {
    Requests {
        requests: 1,
        in_flight: 1,
        p50_ms: Some(0.5),
        p99_ms: Some(0.5),
    }
}

/// One value of each response type, with all fields set. No value is built with `..`: a new field does not compile
/// until it is added here, and then the test fails until the field is in the document.
fn full() -> Vec<(&'static str, Value)> {
    let worker = WorkerStatus {
        id: 1,
        state: "ready".to_owned(),
        for_ms: 1,
        version: 1,
        process: process(),
        requests: requests(),
        sandbox: vec![Mechanism::enforced("seccomp", "a list of allowed calls")],
        limited: BTreeMap::from([("limits.cpu".to_owned(), 1)]),
        refused: BTreeMap::from([("mount".to_owned(), 1)]),
    };
    let function = FunctionStatus {
        name: "f".to_owned(),
        state: "ready".to_owned(),
        version: 1,
        scale: ScaleStatus {
            wanted: 1,
            min: 0,
            max: 2,
        },
        routes: vec!["GET */".to_owned()],
        restarts: 0,
        last_error: Some("ended".to_owned()),
        waiting: 0,
        requests: requests(),
        limits: BTreeMap::from([("timeout".to_owned(), "10s".to_owned())]),
        workers: vec![worker],
    };
    let status = Status {
        service: "s".to_owned(),
        manifest: "edge.yaml".to_owned(),
        generation: 1,
        version: 1,
        rolled_back: true,
        listeners: vec![ListenerStatus {
            scheme: "http".to_owned(),
            address: "127.0.0.1:80".to_owned(),
        }],
        connections: 1,
        metrics: Some("127.0.0.1:9180".to_owned()),
        supervisor: process(),
        gateway: process(),
        functions: vec![function],
    };
    let record = Record {
        time: 1,
        level: "info".to_owned(),
        source: "worker".to_owned(),
        function: Some("f".to_owned()),
        worker: Some(1),
        request: Some("r".to_owned()),
        message: "m".to_owned(),
        fields: BTreeMap::from([("a".to_owned(), json!(1))]),
    };
    let mut problem = Problem::method(vec!["GET".to_owned()]);
    problem.detail = "d".to_owned();
    let change = Change {
        function: Some("f".to_owned()),
        what: "program".to_owned(),
    };
    let version = VersionStatus {
        version: 1,
        time: 1,
        current: true,
        changes: vec![change.clone()],
        rolled_back: Some("f".to_owned()),
        functions: BTreeMap::from([("f".to_owned(), 1)]),
    };
    let edition = EditionStatus {
        version: 1,
        time: 1,
        current: true,
        sha256: "00".to_owned(),
    };
    let versions = VersionsStatus {
        current: 1,
        versions: vec![version],
        functions: BTreeMap::from([("f".to_owned(), vec![edition])]),
    };
    let rolled_back = RolledBack {
        version: 1,
        changes: vec![change],
    };
    let device = DeviceStatus {
        boot: Boot {
            slot: "a".to_owned(),
            trial: false,
            board: "nuc".to_owned(),
            version: "1".to_owned(),
            data: "mounted".to_owned(),
            data_bytes: 1,
            reasons: vec!["r".to_owned()],
            panic: Some("Kernel panic".to_owned()),
        },
        network: Some(Network {
            interface: Some("eth0".to_owned()),
            mac: Some("52:54:00:12:34:56".to_owned()),
            hostname: "h".to_owned(),
            mdns: Some("h.local".to_owned()),
            addresses: vec!["10.0.2.15/24".to_owned()],
            gateway: Some("10.0.2.2".to_owned()),
            dns: vec!["10.0.2.3".to_owned()],
            clock: "unset".to_owned(),
        }),
    };
    let asked = Asked {
        begun: "reboot".to_owned(),
    };
    vec![
        ("Status", value(&status)),
        ("Device", value(&device)),
        ("Asked", value(&asked)),
        ("Versions", value(&versions)),
        ("RolledBack", value(&rolled_back)),
        ("Record", value(&record)),
        ("Skipped", value(&Skipped { skipped: 1 })),
        ("Reloaded", value(&Reloaded { functions: 1 })),
        ("Problem", value(&problem)),
    ]
}

/// Some of these types, without their optional fields.
fn least() -> Vec<(&'static str, Value)> {
    let status = Status {
        service: "s".to_owned(),
        manifest: "edge.yaml".to_owned(),
        generation: 1,
        version: 1,
        rolled_back: false,
        listeners: vec![],
        connections: 0,
        metrics: None,
        supervisor: ProcessStatus::default(),
        gateway: ProcessStatus::default(),
        functions: vec![],
    };
    vec![
        ("Status", value(&status)),
        ("Record", value(&Record::new("gateway", "warn", "m"))),
        ("Problem", value(&Problem::not_found("d"))),
    ]
}

fn value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

/// A validator for one schema of the document.
fn validator(document: &Value, name: &str) -> jsonschema::Validator {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": document["components"],
        "$ref": format!("#/components/schemas/{name}"),
    });
    jsonschema::validator_for(&schema).unwrap()
}

/// Resolves references.
fn resolve<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            resolve(document, found.unwrap_or_else(|| panic!("{reference}")))
        }
        None => schema,
    }
}

/// Checks that every object in `value` has exactly the members that its schema names.
fn same_names(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolve(document, schema);
    match value {
        Value::Object(members) if schema.get("properties").is_some() => {
            let properties = &schema["properties"];
            assert_eq!(names(properties), names(value), "{place}");
            for (name, member) in members {
                same_names(
                    document,
                    &properties[name],
                    member,
                    &format!("{place}.{name}"),
                );
            }
        }
        Value::Array(items) => {
            assert!(
                !items.is_empty(),
                "{place}: an example with none shows nothing"
            );
            for item in items {
                same_names(document, &schema["items"], item, place);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_is_in_the_document_and_every_field_of_the_document_is_told() {
    let document = document();
    for (name, value) in full() {
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is not in the document");
        same_names(&document, schema, &value, name);
    }
    for (name, value) in full().into_iter().chain(least()) {
        let faults: Vec<String> = validator(&document, name)
            .iter_errors(&value)
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:?} in {value}");
    }
}

#[test]
fn every_schema_of_the_document_is_used() {
    let document = document();
    let text = document.to_string();
    for name in names(&document["components"]["schemas"]) {
        let reference = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&reference), "nothing uses {name}");
    }
}

#[test]
fn every_route_is_in_the_document_with_its_parameters_and_the_other_way_round() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented.insert((method.to_uppercase(), path.clone()));
            let parameters = operation["parameters"].as_array();
            let parameters: Vec<&str> = parameters
                .into_iter()
                .flatten()
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let known = ROUTES
                .iter()
                .find(|route| route.path == path && route.method == method.to_uppercase());
            assert_eq!(known.unwrap().parameters, parameters, "{path}");
            let answer = operation["responses"]["200"]["content"].as_object();
            let problem = resolve(&document, &operation["responses"]["default"]);
            assert!(answer.is_some_and(|kinds| kinds.len() == 1), "{path}");
            assert!(problem["content"]["application/problem+json"].is_object());
        }
    }
    let coded = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()));
    assert_eq!(documented, coded.collect());
}

#[test]
fn parameters_take_what_the_document_says_and_nothing_beyond() {
    let document = document();
    let parameters = document["paths"]["/v1/logs"]["get"]["parameters"].as_array();
    for parameter in parameters.unwrap() {
        let name = parameter["name"].as_str().unwrap();
        let asked = |value: &str| route("GET", "/v1/logs", Some(&format!("{name}={value}")));
        let schema = &parameter["schema"];
        for level in schema["enum"].as_array().into_iter().flatten() {
            assert!(asked(level.as_str().unwrap()).is_ok());
        }
        if let Some(most) = schema["maximum"].as_u64() {
            assert_eq!(most, MOST_LINES as u64);
            assert!(asked(&most.to_string()).is_ok());
            assert!(asked(&(most + 1).to_string()).is_err());
        }
        if schema["type"] == "boolean" {
            assert!(asked("true").is_ok() && asked("false").is_ok());
        }
    }
}
