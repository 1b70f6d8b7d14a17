//! The part of the catalogue in `docs/limits.md` that is about workers, each of which violates the protocol in a
//! different way. The tests check what the client gets, what is logged, and that no other function is affected.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::curl::curl;
use crate::http::request;
use crate::platform::{Place, Platform};
use crate::process::signal;
use crate::wait;

/// What the client gets.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// A complete response of the function.
    Answer,
    /// A problem with this status, of the layer `worker`.
    Problem(u16),
    /// A head, and a body that breaks off.
    Broken,
}
use Seen::{Answer, Broken, Problem};

/// What the worker does, what its client gets, and how the log message about the end of the worker begins. The
/// message is empty if the worker does not end.
const ACTS: &[(&str, Seen, &str)] = &[
    ("truncated", Problem(502), "ended: exit status 0"),
    ("exit", Problem(502), "ended: exit status 0"),
    ("exit-head", Problem(502), "ended: exit status 0"),
    ("exit-body", Broken, "ended: exit status 0"),
    ("giant", Problem(502), "broke the protocol"),
    ("head-beyond-payload", Problem(502), "broke the protocol"),
    ("unknown", Problem(502), ""),
    ("unknown-on-0", Answer, ""),
    ("two", Answer, "broke the protocol"),
    ("two-heads", Broken, "broke the protocol"),
    ("unasked", Problem(502), "broke the protocol"),
    ("flood", Broken, "broke the protocol"),
    ("data-first", Problem(502), "broke the protocol"),
    ("no-credit", Problem(502), "broke the protocol"),
    ("too-much-credit", Problem(502), "broke the protocol"),
    ("bad-head", Problem(502), ""),
    ("gateways-kind", Problem(502), "broke the protocol"),
    ("goaway-unknown", Problem(502), "broke the protocol"),
];

fn manifest(env: &str) -> String {
    format!(
        r#"
gateway: {{ listen: {{ http: "127.0.0.1:0" }} }}
functions:
  hostile: {{ routes: [{{ path: "/{{act}}" }}], binary: hostile, timeout: 2s, env: {env} }}
  bystander: {{ domains: [bystander.example], routes: [{{ path: /worker }}], binary: probe }}
"#
    )
}

fn place(env: &str) -> Place {
    let place = Place::new(&manifest(env));
    let program = place.path().join("hostile");
    std::fs::write(&program, include_str!("hostile.py")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    place
}

fn bystander(platform: &Platform) -> u64 {
    let answer = platform.ask("GET /worker", &["Host: bystander.example"], b"");
    answer.json()["worker"].as_u64().unwrap()
}

#[test]
fn trailers_reach_the_worker_and_the_client() {
    let platform = Platform::start_in(place("{}"));
    let mut client = platform.connect();
    let headers = "Host: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, etag\r\nTE: trailers";
    // The act `silent` does not answer by itself. The worker answers when the trailers arrive, with the trailers as
    // the body.
    client.send(format!("POST /silent HTTP/1.1\r\n{headers}\r\n\r\n"));
    client.send_chunk(b"a body").unwrap();
    client.send("0\r\nx-sum: 42\r\netag: \"e\"\r\n\r\n");
    let answer = client.answer("POST");
    let came: Vec<(String, String)> = serde_json::from_slice(&answer.body).unwrap();
    let expect = [("x-sum", "42"), ("etag", "\"e\"")];
    let expect = expect.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(BTreeMap::from_iter(came), BTreeMap::from(expect));
    let url = format!("http://{}/trailers", platform.http());
    let words = [
        "--http2-prior-knowledge",
        "--dump-header",
        "-",
        "--data",
        "",
    ];
    let seen = curl(&[&words[..], &[&url]].concat()).out;
    assert!(seen.contains("x-sum: 42"), "{seen}");
}

/// Sends a POST, which the gateway does not retry after a failure.
fn post(platform: &Platform, act: &str) -> (u16, Result<Vec<u8>, std::io::Error>) {
    let mut client = platform.connect();
    client.send(request(&format!("POST /{act}"), &[], b""));
    let head = client.head();
    (head.status, client.body(&head))
}

#[test]
fn every_breach_of_the_wire_has_its_outcome_and_harms_nobody_else() {
    for (act, seen, said) in ACTS {
        let platform = Platform::start_in(place("{}"));
        let before = (platform.worker("hostile"), bystander(&platform));
        let (status, body) = post(&platform, act);
        match (seen, status, body) {
            (Answer, 200, Ok(body)) => assert_eq!(body, b"fine", "{act}"),
            (Broken, 200, Err(_)) => {}
            (Problem(expect), status, Ok(body)) if status == *expect => {
                let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(problem["layer"], "worker", "{act}: {problem}");
                assert!(problem["worker"].is_u64(), "{act}: {problem}");
                assert!(problem["request"].is_string(), "{act}: {problem}");
            }
            (seen, status, body) => panic!("{act}: {seen:?} was expected, not {status} {body:?}"),
        }
        wait::until("it serves again", || {
            let (status, _) = post(&platform, "ok");
            (status == 200).then_some(())
        });
        match *said {
            "" => assert_eq!(platform.worker("hostile"), before.0, "{act}"),
            said => {
                platform.wait_for_record("the log says why", |record| {
                    record["message"].as_str().unwrap().starts_with(said)
                });
                assert_ne!(platform.worker("hostile"), before.0, "{act}");
            }
        }
        assert_eq!(bystander(&platform), before.1, "{act}");
    }
}

#[test]
fn a_worker_that_says_ready_twice_is_killed_and_one_that_never_does_too() {
    for (env, reason) in [
        ("{ MODE: twice }", "broke the protocol: READY twice"),
        ("{ MODE: never }", "was not ready within 10 s; killed"),
    ] {
        let platform = Platform::begin(place(env));
        let ready = || {
            let answer = platform.ask("GET /worker", &["Host: bystander.example"], b"");
            (answer.status() == 200).then_some(())
        };
        wait::until("the other function serves", ready);
        let limit = Duration::from_secs(20);
        wait::within(limit, "it is killed, and the log says why", || {
            let said = |record: &serde_json::Value| record["message"] == reason;
            platform.logs().iter().any(said).then_some(())
        });
    }
}

/// A worker that floods the log with LOG frames, and one that floods it with printed lines.
#[test]
fn one_that_never_stops_talking_is_not_all_that_is_heard() {
    let prints = "  prints: { routes: [{ path: /prints }], binary: prints }\n";
    for (env, more) in [("{ MODE: talk }", ""), ("{}", prints)] {
        let place = place(env);
        place.write(&(manifest(env) + more));
        let program = place.path().join("prints");
        std::fs::write(&program, "#!/bin/sh\nexec yes\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let platform = Platform::begin(place);
        let serves = || {
            let answer = platform.ask("GET /worker", &["Host: bystander.example"], b"");
            (answer.status() == 200).then_some(())
        };
        let limit = Duration::from_secs(10);
        wait::within(limit, "the other function serves", serves);
        let talks =
            |record: &serde_json::Value| matches!(record["message"].as_str(), Some("and on" | "y"));
        let heard = || platform.logs().iter().any(talks).then_some(());
        wait::within(limit, "it talks", heard);
        let killed = platform.worker("bystander");
        signal(killed, Signal::SIGKILL);
        let begun = Instant::now();
        wait::within(limit, "another worker serves", serves);
        assert_ne!(platform.worker("bystander"), killed);
        println!(
            "while one talks, another is replaced within {:.0?}",
            begun.elapsed()
        );
        let (status, _) = platform.end(Signal::SIGTERM);
        assert!(status.success(), "{status}");
    }
}

#[test]
fn what_is_given_back_is_tried_again_only_with_its_whole_body() {
    let two = manifest("{}").replace(
        "timeout: 2s",
        "timeout: 2s, scale: { min: 2, max: 2 }, sandbox: { write: [kept] }",
    );
    let tried = |body: &[u8]| {
        let place = place("{}");
        place.write(&two);
        let platform = Platform::start_in(place);
        let answer = platform.ask("POST /give-back", &[], body);
        (answer.status(), answer.text().to_owned())
    };
    assert_eq!(tried(b"small"), (200, "whole".to_owned()));
    // The gateway forwards a long body as it arrives, so it cannot send the body again.
    let (status, problem) = tried(&vec![b'u'; 1 << 20]);
    assert_eq!(status, 503, "{problem}");
    assert!(problem.contains("gave the request back"), "{problem}");
}
