//! Bodies of `POST /items` that are not items. Both functions that serve items answer each with its status and a
//! problem that names the error, and no worker ends.

use serde_json::{Value, json};

use crate::http::{Client, request};
use crate::platform::{Place, Platform, function};

/// More than the bodies of brackets below, less than the body of 100 MiB.
const LIMIT: &str = "body_bytes: 1MiB";

/// Sends a body and checks the problem in the response. It must contain the members of `expect`, and may contain
/// others.
fn check(platform: &Platform, headers: &[&str], body: &[u8], expect: Value) {
    let answer = platform.ask("POST /items", headers, body);
    let start = String::from_utf8_lossy(&body[..body.len().min(60)]);
    assert_eq!(
        answer.status(),
        expect["status"],
        "{start}: {}",
        answer.text()
    );
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"), "{start}");
    let problem = answer.json();
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&problem[name], value, "{start}: {problem}");
    }
}

/// Sends all these bodies to a platform with [`LIMIT`] and a fresh store of items.
pub(crate) fn is_refused(platform: &Platform) {
    const HOST: &str = "Host: api.example.com";
    let json = [HOST, "Content-Type: application/json"];
    let title = "The body is not the JSON expected here";
    let bad = |detail: &str| json!({ "status": 400, "title": title, "detail": detail });
    let at = |line: u32, column: u32, mut expect: Value| {
        expect["line"] = line.into();
        expect["column"] = column.into();
        expect
    };
    let field = |name: &str, mut expect: Value| {
        expect["field"] = name.into();
        expect
    };

    // Malformed.
    let unfinished = bad("name: EOF while parsing a value at line 2 column 8");
    check(
        platform,
        &json,
        b"{\"quantity\":1,\n\"name\": ",
        at(2, 8, unfinished),
    );
    let trailing = bad("trailing characters at line 1 column 32");
    let item = br#"{"name":"poker","quantity":1}"#;
    check(
        platform,
        &json,
        &[item, &b"  }"[..]].concat(),
        at(1, 32, trailing),
    );
    let empty = bad("EOF while parsing a value at line 1 column 0");
    check(platform, &json, b"", at(1, 0, empty));

    // 100,000 opening brackets: as the body, and as the value of `name`.
    let brackets = "[".repeat(100_000);
    let bomb = bad("[0]: invalid type: sequence, expected a string at line 1 column 1");
    check(platform, &json, brackets.as_bytes(), bomb);
    let within = format!(r#"{{"name":{brackets}"#);
    let bomb = bad("name: invalid type: sequence, expected a string at line 1 column 8");
    check(platform, &json, within.as_bytes(), field("name", bomb));

    // With another content type.
    for kind in ["text/plain", "application/xml", "multipart/form-data"] {
        let headers = [HOST, &format!("Content-Type: {kind}")];
        let detail = format!("content-type: `{kind}`, expected `application/json`");
        let expect = json!({ "status": 415, "detail": detail, "field": "content-type" });
        check(platform, &headers, item, expect);
    }

    // Not UTF-8.
    let latin1 = b"{\"name\":\"caf\xE9\",\"quantity\":1}";
    let detail = "not UTF-8: invalid utf-8 sequence of 1 bytes from index 12";
    check(platform, &json, latin1, bad(detail));

    // Fields that are missing or unknown, or have a wrong type.
    for (body, expect) in [
        (r#"{}"#, "missing field `name` at line 1 column 2"),
        (
            r#"{"name":"a"}"#,
            "missing field `quantity` at line 1 column 12",
        ),
    ] {
        check(platform, &json, body.as_bytes(), bad(expect));
    }
    for (body, name) in [
        (r#"{"name":"a","quantity":-1}"#, "quantity"),
        (r#"{"name":"a","quantity":1,"colour":"red"}"#, "colour"),
    ] {
        let expect = json!({ "status": 400, "title": title });
        check(platform, &json, body.as_bytes(), field(name, expect));
    }

    // Too long: refused for its Content-Length before any of the body is sent.
    let mut client = Client::connect(platform.http());
    let length = format!("Content-Length: {}", 100 << 20);
    client.send(request("POST /items", &[HOST, json[1], &length], b""));
    let problem = client.answer("POST").problem(413, "limit");
    let detail = "the body is longer than 1048576 bytes";
    assert_eq!(problem["detail"], detail);

    let list = platform.ask("GET /items", &[HOST], b"").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    let made = platform.ask("POST /items", &json, item);
    assert_eq!((made.status(), &made.json()["id"]), (201, &json!(4)));
}

#[test]
fn items_in_memory_refuse_what_is_no_item() {
    let items = function("items");
    let platform = Platform::start_in(Place::new(&format!(
        "gateway: {{ listen: {{ http: \"127.0.0.1:0\" }}, limits: {{ {LIMIT} }} }}\nfunctions:\n  \
         items_api: {{ routes: [{{ path: /items }}], binary: {} }}\n",
        items.display()
    )));
    let worker = platform.worker("items_api");
    is_refused(&platform);
    assert_eq!(platform.worker("items_api"), worker);
}
