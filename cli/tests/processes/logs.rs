//! `hearth logs` and `hearth status`: what a running platform reports about itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::Value;

use crate::platform::{PROBE, Place, Platform};
use crate::process;
use crate::wait;

#[test]
fn lines_that_a_worker_prints_are_records_of_its_function_and_worker() {
    let platform = Platform::start(PROBE);
    let worker = platform.function("probe")["workers"][0]["id"].clone();
    assert_eq!(platform.get("/say?hello").status(), 204);
    for line in ["to stdout: hello", "to stderr: hello"] {
        let record = platform.wait_for_record(line, |record| record["message"] == line);
        assert_eq!(record["source"], "worker");
        assert_eq!(record["function"], "probe");
        assert_eq!(record["worker"], worker);
        assert!(record["time"].as_u64().unwrap() > 1_600_000_000_000);
        // `up --log json` prints the same.
        wait::until("it is printed", || {
            platform.printed().contains(&record).then_some(())
        });
    }
}

#[test]
fn logs_can_be_of_one_function_and_are_lines_for_people_without_json() {
    let two = r#"
functions:
  one: { routes: [{ path: /say }], binary: probe }
  two: { domains: [two.example], routes: [{ path: /say }], binary: probe }
"#;
    let platform = Platform::start(two);
    platform.get("/say?a");
    platform.ask("GET /say?b", &["Host: two.example"], b"");
    let message = |line: &'static str| move |record: &Value| record["message"] == line;
    platform.wait_for_record("one spoke", message("to stdout: a"));
    platform.wait_for_record("two spoke", message("to stdout: b"));
    let output = platform.place.hearth("logs", &["--function", "two"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("to stdout: b"), "{text}");
    assert!(!text.contains("to stdout: a"), "{text}");
    let last = platform.place.hearth("logs", &["-n", "1", "--json"]);
    assert_eq!(String::from_utf8(last.stdout).unwrap().lines().count(), 1);
}

#[test]
fn logs_that_follow_go_on_with_what_comes() {
    let platform = Platform::start(PROBE);
    let mut follow = platform.place.command("logs", &["-f", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let record: Value = serde_json::from_str(&line).unwrap();
            let _ = sender.send(record["message"].as_str().unwrap().to_owned());
        }
    });
    // The command follows the log once it has printed the past records.
    let wait_for = |text: &str| while heard.recv_timeout(wait::LIMIT).unwrap() != text {};
    wait_for("ready");
    for text in ["first", "second"] {
        platform.get(&format!("/say?{text}"));
        wait_for(&format!("to stdout: {text}"));
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn each_request_is_one_record_of_the_access_log() {
    let platform = Platform::start(PROBE);
    let answer = platform.ask("GET /small?secret=1", &["Host: a.example"], b"");
    let id = answer.header("x-request-id").unwrap().to_owned();
    let record = platform.wait_for_record("the request is logged", |record| {
        record["source"] == "access" && record["request"] == id.as_str()
    });
    assert_eq!(record["message"], "GET a.example/small 200");
    assert_eq!(record["function"], "probe");
    assert!(record["worker"].is_u64());
    let fields = &record["fields"];
    assert_eq!(fields["status"], 200);
    assert_eq!(fields["bytes"], 5);
    assert_eq!(fields["protocol"], "HTTP/1.1");
    assert!(fields["ms"].as_f64().unwrap() > 0.0);
    let refused = platform.get("/..");
    let id = refused.header("x-request-id").unwrap().to_owned();
    let record = platform.wait_for_record("the refusal is logged", |record| {
        record["source"] == "access" && record["request"] == id.as_str()
    });
    assert_eq!(record["fields"]["layer"], "gateway");
    assert_eq!(record["fields"]["status"], 400);
}

#[test]
fn requests_leave_no_record_where_the_manifest_does_not_ask_for_it() {
    let gateway = r#"gateway: { listen: { http: "127.0.0.1:0" } }"#;
    let platform = Platform::start_in(Place::new(&format!("{gateway}\n{PROBE}")));
    assert_eq!(platform.get("/small").status(), 200);
    platform.get("/say?done");
    platform.wait_for_record("what came later", |record| {
        record["message"] == "to stdout: done"
    });
    let logs = platform.logs();
    assert!(
        logs.iter().all(|record| record["source"] != "access"),
        "{logs:?}"
    );
}

#[test]
fn status_shows_listeners_routes_workers_and_memory() {
    let platform = Platform::start(&format!("{PROBE}    scale: {{ min: 2 }}\n"));
    let status = platform.status();
    assert_eq!(status["service"], "test");
    assert_eq!(status["pid"], platform.supervisor());
    assert_eq!(status["generation"], 1);
    let listener = &status["listeners"][0];
    assert_eq!(listener["scheme"], "http");
    assert!(status["gateway"]["pss_bytes"].as_u64().unwrap() > 0);
    let function = &status["functions"][0];
    assert_eq!(function["name"], "probe");
    assert_eq!(function["state"], "ready");
    assert_eq!(function["routes"][0], "ANY */{path+}");
    assert_eq!(function["restarts"], 0);
    let workers = &function["workers"];
    assert_eq!(workers.as_array().unwrap().len(), 2);
    for worker in workers.as_array().unwrap() {
        assert!(process::runs(crate::platform::pid(worker)));
        assert!(worker["pss_bytes"].as_u64().unwrap() > 0);
    }

    let output = platform.place.hearth("status", &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let listens = format!("test (generation 1) on http://{}", platform.http());
    assert!(text.starts_with(&listens), "{text}");
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("probe")[1..3], ["ready", "1"]);
    let pid = crate::platform::pid(&workers[0]).to_string();
    assert_eq!(row("worker 1")[2..5], [pid.as_str(), "ready", "1"]);
    let rest = "\nprobe\n  ANY */{path+}\n  limits: concurrency 1, limits.memory 128MiB, ";
    assert!(text.contains(rest), "{text}");
}
