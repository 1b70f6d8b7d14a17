//! HTTP/2, plain and over TLS, with curl as the client.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::curl::curl;
use crate::platform::{PROBE, Place, Platform};

#[test]
fn plain_http_2_is_spoken_with_prior_knowledge_and_http_1_1_without() {
    let platform = Platform::start(PROBE);
    let url = format!("http://{}/x", platform.http());
    let version = [
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version}",
        &url,
    ];
    assert_eq!(curl(&version).out, "1.1");
    let with_knowledge = [&["--http2-prior-knowledge"][..], &version].concat();
    assert_eq!(curl(&with_knowledge).out, "2");
    let seen = curl(&["--http2-prior-knowledge", &url]).out;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["host"], "127.0.0.1");
    assert_eq!(seen["scheme"], "http");
}

#[test]
fn over_tls_the_client_chooses_between_http_2_and_http_1_1() {
    let manifest = format!(r#"gateway: {{ listen: {{ https: "127.0.0.1:0" }} }}{PROBE}"#);
    let platform = Platform::start_in(Place::new(&manifest));
    let url = format!("https://{}/x", platform.https());
    for (option, expect) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let version = ["--output", "/dev/null", "--write-out", "%{http_version}"];
        let version = [&["--insecure", option, &url][..], &version].concat();
        assert_eq!(curl(&version).out, expect);
    }
    let seen: Value = serde_json::from_str(&curl(&["--insecure", &url]).out).unwrap();
    assert_eq!(seen["scheme"], "https");
}

#[test]
fn many_streams_of_one_connection_are_answered_side_by_side() {
    let gateway = r#"gateway: { listen: { https: "127.0.0.1:0" } }"#;
    let functions = format!("{gateway}\n{PROBE}    scale: {{ min: 2 }}\n");
    let platform = Platform::start_in(Place::new(&functions));
    let url = format!("https://{}/sleep?ms=20&n=[1-60]", platform.https());
    let parallel = [
        "--insecure",
        "--http2",
        "--parallel",
        "--parallel-max",
        "60",
    ];
    // curl replaces `#1` with the current number of the range in the URL.
    let file = platform.place.path().join("answer-#1");
    let told = ["--write-out", "%{http_code} %{num_connects}\n", "--output"];
    let out = curl(&[&parallel[..], &told, &[file.to_str().unwrap(), &url]].concat()).out;
    let codes: Vec<&str> = out.lines().collect();
    assert_eq!(codes.len(), 60, "{out}");
    assert!(codes.iter().all(|code| code.starts_with("200 ")), "{out}");
    let connects = codes.iter().filter(|code| !code.ends_with(" 0")).count();
    assert_eq!(connects, 1, "one connection for all: {out}");

    // At the same time: some handlers of one worker ran while a handler of the other did.
    let answers: Vec<Value> = (1..=60)
        .map(|number| platform.place.path().join(format!("answer-{number}")))
        .map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
        .collect();
    let pids: BTreeSet<u64> = answers
        .iter()
        .filter_map(|one| one["worker"].as_u64())
        .collect();
    assert_eq!(pids.len(), 2, "both workers answer");
    let overlap = |a: &Value, b: &Value| {
        a["begin"].as_u64() < b["end"].as_u64() && b["begin"].as_u64() < a["end"].as_u64()
    };
    let side_by_side = answers.iter().any(|a| {
        answers
            .iter()
            .any(|b| a["worker"] != b["worker"] && overlap(a, b))
    });
    assert!(side_by_side, "{out}");
}

#[test]
fn bodies_go_both_ways_over_http_2() {
    let platform = Platform::start(PROBE);
    let file = platform.place.path().join("body");
    let body: Vec<u8> = (0..3_000_000u32).map(|place| (place % 251) as u8).collect();
    std::fs::write(&file, &body).unwrap();
    let back = platform.place.path().join("back");
    for route in ["echo", "pipe"] {
        let url = format!("http://{}/{route}", platform.http());
        let data = format!("@{}", file.display());
        let went = ["--http2-prior-knowledge", "--data-binary", &data];
        let came = ["--output", back.to_str().unwrap(), &url];
        assert_eq!(curl(&[&went[..], &came].concat()).exit, 0);
        assert!(
            std::fs::read(&back).unwrap() == body,
            "{route} changed the body"
        );
    }
}

#[test]
fn head_and_problems_are_the_same_over_http_2() {
    let functions = "functions: { f: { routes: [{ path: /x, method: GET }], binary: probe } }";
    let platform = Platform::start(functions);
    let url = format!("http://{}/x", platform.http());
    let head = curl(&["--http2-prior-knowledge", "--head", &url]).out;
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    let refused = ["--include", "--request", "PUT", &url];
    let refused = curl(&[&["--http2-prior-knowledge"][..], &refused].concat()).out;
    assert!(refused.starts_with("HTTP/2 405"), "{refused}");
    assert!(refused.contains("allow: GET, HEAD"), "{refused}");
}
