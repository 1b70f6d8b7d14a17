//! Functions that have a start, idle work, an end, and log messages of their own.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::wait;

fn manifest(start: &str) -> String {
    format!(
        "{HTTP_ONLY}\nfunctions:\n  f:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: lifecycle\n    env: {{ START: {start} }}\n"
    )
}

#[test]
fn a_start_that_fails_refuses_the_reload_with_its_own_words() {
    let platform = Platform::start_in(Place::new(&manifest("well")));
    let before = platform.worker("f");
    platform.place.write(&manifest("fail"));
    let refused = platform.place.hearth("reload", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the moon is out of reach"), "{said}");
    assert_eq!(platform.worker("f"), before);
    assert_eq!(platform.get("/x").status(), 200);
}

#[test]
fn lines_of_a_request_have_its_id_and_its_fields_from_then_on() {
    let platform = Platform::start_in(Place::new(&manifest("well")));
    let answer = platform.get("/x?y=1");
    let id = answer.header("x-request-id").unwrap();
    let line = |message: &str| {
        platform.wait_for_record(message, |record| {
            record["message"] == message && record["request"] == id
        })
    };
    let asked = line("asked");
    assert_eq!(asked["level"], "warn");
    assert_eq!(asked["function"], "f");
    assert_eq!(asked["fields"], json!({ "path": "/x" }));
    let answered = line("answered");
    assert_eq!(answered["level"], "debug");
    assert_eq!(answered["fields"], json!({ "path": "/x", "query": "y=1" }));
}

#[test]
fn idle_work_is_done_between_requests_and_the_end_is_told_with_its_deadline() {
    let mut platform = Platform::start_in(Place::new(&manifest("well")));
    let mut answers = 0;
    wait::until("idle work has been done twice", || {
        answers += 1;
        let done: u32 = platform.get("/x").text().parse().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(120));
        (done >= 2).then_some(())
    });
    platform.signal(Signal::SIGTERM);
    assert!(platform.wait_end().success());
    let printed = platform.printed();
    let told = format!("stopping after {answers} answers with 2 s left");
    let found = printed.iter().any(|record| record["message"] == told);
    assert!(found, "{printed:?}");
}
