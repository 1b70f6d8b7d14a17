//! Which function handles a request, what it learns about the request, and what the gateway answers by itself.

use serde_json::{Value, json};

use crate::http::{Answer, Client, request};
use crate::platform::{PROBE, Platform};

/// A function for each kind of domain, all with the same path. The probe answers that path with a description of the
/// request.
const DOMAINS: &str = r#"
functions:
  exact: { domains: ["a.example.com"], routes: [{ path: /where }, { path: /only-exact }], binary: probe }
  wildcard: { domains: ["*.example.com"], routes: [{ path: /where }, { path: /only-wildcard }], binary: probe }
  any: { routes: [{ path: /where }, { path: /only-any }], binary: probe }
"#;

const PATHS: &str = r#"
functions:
  literal: { routes: [{ path: "/items/new", method: GET }], binary: probe }
  parameter: { routes: [{ path: "/items/{id}" }, { path: "/items/{id}/parts/{part}" }], binary: probe }
  greedy: { routes: [{ path: "/items/{rest+}" }], binary: probe }
"#;

fn ask(platform: &Platform, host: &str, path: &str) -> Answer {
    platform.ask(&format!("GET {path}"), &[&format!("Host: {host}")], b"")
}

fn function(answer: &Answer) -> Value {
    answer.json()["function"].clone()
}

#[test]
fn exact_domain_beats_wildcard_beats_any_host() {
    let platform = Platform::start(DOMAINS);
    let check = |host: &str, path: &str, expect: &str| {
        assert_eq!(
            function(&ask(&platform, host, path)),
            expect,
            "{host}{path}"
        );
    };
    check("a.example.com", "/where", "exact");
    check("A.Example.COM.:8080", "/where", "exact");
    check("b.example.com", "/where", "wildcard");
    check("b.b.example.com", "/where", "any");
    check("example.com", "/where", "any");
    check("127.0.0.1", "/where", "any");
    // A path that the more specific domain does not have is served by a less specific one.
    check("a.example.com", "/only-wildcard", "wildcard");
    check("a.example.com", "/only-any", "any");
    ask(&platform, "b.example.com", "/only-exact").problem(404, "gateway");
}

#[test]
fn a_host_that_no_function_has_is_404() {
    let function = r#"
functions:
  f: { domains: ["a.example.com"], routes: [{ path: /where }], binary: probe }
"#;
    let platform = Platform::start(function);
    assert_eq!(ask(&platform, "a.example.com", "/where").status(), 200);
    ask(&platform, "b.example.com", "/where").problem(404, "gateway");
}

#[test]
fn literal_beats_parameter_beats_greedy() {
    let platform = Platform::start(PATHS);
    let check = |path: &str, name: &str, route: &str, params: Value| {
        let seen = platform.get(path).json();
        assert_eq!(seen["function"], name, "{path}");
        assert_eq!(seen["route"], route, "{path}");
        assert_eq!(seen["params"], params, "{path}");
        assert_eq!(seen["path"], path);
    };
    check("/items/new", "literal", "/items/new", json!([]));
    check("/items/n%65w", "literal", "/items/new", json!([]));
    check("/items/7", "parameter", "/items/{id}", json!([["id", "7"]]));
    check(
        "/items/7/parts/8",
        "parameter",
        "/items/{id}/parts/{part}",
        json!([["id", "7"], ["part", "8"]]),
    );
    check(
        "/items/7/other/8",
        "greedy",
        "/items/{rest+}",
        json!([["rest", "7/other/8"]]),
    );
    // The literal route has only GET, so another method finds the next pattern that fits.
    let posted = platform.ask("POST /items/new", &[], b"").json();
    assert_eq!(posted["function"], "parameter");
}

#[test]
fn parameters_are_percent_decoded_and_an_encoded_slash_stays_in_its_segment() {
    let platform = Platform::start(PATHS);
    let id_of = |path: &str| platform.get(path).json()["params"][0][1].clone();
    assert_eq!(id_of("/items/caf%C3%A9%20au%20lait"), "café au lait");
    assert_eq!(id_of("/items/a%2Fb"), "a/b");
    assert_eq!(id_of("/items/100%25"), "100%");
    let seen = platform.get("/items/a%2Fb?x=%20y&x=2").json();
    assert_eq!(seen["function"], "parameter");
    assert_eq!(seen["query"], "x=%20y&x=2");
}

#[test]
fn head_is_answered_by_get_without_a_body_and_with_the_length_of_gets() {
    let platform = Platform::start(PROBE);
    for path in ["/small", "/big", "/stream?bytes=100000", "/drip?pieces=2"] {
        let mut client = platform.connect();
        let got = client.ask(&format!("GET {path}"), &[], b"");
        let head = client.ask(&format!("HEAD {path}"), &[], b"");
        assert_eq!((got.status(), head.status()), (200, 200), "{path}");
        assert_eq!(
            head.header("content-type"),
            got.header("content-type"),
            "{path}"
        );
        // A length may be left out (RFC 9110, section 9.3.2), but a wrong one may not be given.
        if let Some(length) = head.header("content-length") {
            assert_eq!(length, got.body.len().to_string(), "{path}");
        }
        // The response had no body: the next bytes are the next response.
        assert_eq!(client.ask("GET /small", &[], b"").text(), "small", "{path}");
    }
    let small = platform.ask("HEAD /small", &[], b"");
    assert_eq!(small.header("content-length"), Some("5"));
}

#[test]
fn a_known_path_with_another_method_is_405_with_allow() {
    let functions = r#"
functions:
  f:
    routes:
      - { path: "/items/{id}", method: GET }
      - { path: "/items/{id}", method: PUT }
    binary: probe
"#;
    let platform = Platform::start(functions);
    assert_eq!(platform.ask("PUT /items/1", &[], b"").status(), 200);
    let refused = platform.ask("DELETE /items/1", &[], b"");
    refused.problem(405, "gateway");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT"));
}

#[test]
fn an_unknown_path_is_404_with_a_request_id_that_no_other_has() {
    let platform = Platform::start(PATHS);
    let problems = [(); 2].map(|()| platform.get("/nowhere").problem(404, "gateway"));
    assert_ne!(problems[0]["request"], problems[1]["request"]);
    // The function gets the id that its client gets.
    let answer = platform.get("/items/1");
    assert_eq!(answer.json()["id"], answer.header("x-request-id").unwrap());
}

#[test]
fn malformed_requests_are_400_and_never_reach_a_function() {
    let platform = Platform::start(PROBE);
    let check = |raw: &str, expect: u16| {
        let mut client = platform.connect();
        client.send(raw);
        let answer = client.answer("GET");
        assert_eq!(answer.status(), expect, "{raw:?}: {}", answer.text());
        if expect == 400 {
            answer.problem(400, "gateway");
        }
    };
    check("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200);
    check("GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n", 200);
    check("GET /x HTTP/1.1\r\n\r\n", 400);
    check("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check("GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    check("GET /x HTTP/1.1\r\nHost: a:x\r\n\r\n", 400);
    check("GET /x/../y HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    check("GET /x/%2e%2E/y HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    check("GET /x/./y HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    check("GET /x%00y HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    check("GET /x%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn what_is_no_http_gets_no_answer_of_a_function() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send("this is no HTTP\r\n\r\n");
    assert_ne!(client.try_head().map_or(400, |head| head.status), 200);
    assert_eq!(platform.get("/x").status(), 200);
}

#[test]
fn a_client_of_http_1_0_is_served_without_host_and_hung_up_on() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send("GET /x?y=1 HTTP/1.0\r\n\r\n");
    let answer = client.answer("GET");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["query"], "y=1");
    assert!(client.is_hung_up());
}

#[test]
fn a_streamed_answer_reaches_a_client_of_http_1_0_without_chunks() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    client.send("GET /stream?bytes=100000 HTTP/1.0\r\n\r\n");
    let answer = client.answer("GET");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.body, vec![b's'; 100_000]);
}

#[test]
fn requests_sent_at_once_on_one_connection_are_answered_in_order() {
    let platform = Platform::start(PROBE);
    let mut client = platform.connect();
    let targets: Vec<String> = (0..50).map(|number| format!("/x/{number}")).collect();
    let all = targets
        .iter()
        .map(|path| request(&format!("GET {path}"), &[], b""));
    client.send(all.collect::<Vec<_>>().concat());
    for path in &targets {
        assert_eq!(client.answer("GET").json()["path"], path.as_str());
    }
}

fn field<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = seen["headers"].as_array().unwrap().iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap()).collect()
}

#[test]
fn fields_of_one_hop_are_not_passed_on_either_way() {
    let platform = Platform::start(PROBE);
    let headers = [
        "Connection: keep-alive, X-Private",
        "X-Private: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: h9",
        "X-Public: 2",
        "X-Public: 3",
    ];
    let seen = platform.ask("GET /x", &headers, b"").json();
    let of_the_hop = [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ];
    for name in of_the_hop {
        assert!(field(&seen, name).is_empty(), "{name} in {seen}");
    }
    assert_eq!(field(&seen, "x-public"), ["2", "3"]);
    assert_eq!(field(&seen, "host"), ["localhost"]);

    let answer = platform.get("/hop");
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert_eq!(answer.header(name), None);
    }
    assert_eq!(answer.header("x-kept"), Some("kept"));
    assert_eq!(answer.text(), "hop");
}

#[test]
fn forwarding_fields_are_the_gateways_own_and_a_clients_are_not_believed() {
    let platform = Platform::start(PROBE);
    let headers = [
        "Host: shop.example.com:8080",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 443",
        "X-Request-Id: mine",
        "Forwarded: for=6.6.6.6",
        "X-Other: kept",
    ];
    let answer = platform.ask("GET /x", &headers, b"");
    let seen = answer.json();
    assert_eq!(field(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(field(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(field(&seen, "x-forwarded-host"), ["shop.example.com:8080"]);
    assert!(field(&seen, "x-forwarded-port").is_empty());
    let forwarded = "for=127.0.0.1;host=\"shop.example.com:8080\";proto=http";
    assert_eq!(field(&seen, "forwarded"), [forwarded]);
    assert_ne!(answer.header("x-request-id"), Some("mine"));
    assert_eq!(field(&seen, "x-other"), ["kept"]);
    assert_eq!(seen["host"], "shop.example.com");
    assert_eq!(seen["scheme"], "http");
}

#[test]
fn a_function_is_told_its_client_and_the_time_it_has() {
    let functions = r#"
functions:
  f: { routes: [{ path: /x }], binary: probe, timeout: 7s }
"#;
    let platform = Platform::start(functions);
    let seen = platform.get("/x").json();
    let client = seen["client"].as_str().unwrap();
    assert!(client.starts_with("127.0.0.1:"), "{client}");
    let left = seen["deadline_ms"].as_u64().unwrap();
    assert!((1..=7000).contains(&left), "{left}");
}

#[test]
fn listeners_on_all_addresses_serve_both_families() {
    let manifest = format!(r#"gateway: {{ listen: {{ http: "[::]:0" }} }}{PROBE}"#);
    let platform = Platform::start_in(crate::platform::Place::new(&manifest));
    for address in ["127.0.0.1", "::1"] {
        let address = format!("{}:{}", bracketed(address), platform.http().port());
        let mut client = Client::connect(address.parse().unwrap());
        let seen = client.ask("GET /x", &[], b"").json();
        let from = seen["client"].as_str().unwrap().rsplit_once(':').unwrap().0;
        assert_eq!(from, address.rsplit_once(':').unwrap().0);
    }
}

fn bracketed(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    }
}
