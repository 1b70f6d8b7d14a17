//! What a worker sends: log records in the name of others, and garbage to the platform.

use nix::unistd::geteuid;
use serde_json::json;

use crate::outcome::Outcome;
use crate::scene::{By, Scene, order};
use crate::wait;

fn scene() -> Scene {
    Scene::new(match geteuid().is_root() {
        true => By::Root,
        false => By::User,
    })
}

#[test]
fn log_lines_are_of_who_wrote_them() {
    let scene = scene();
    let forged = "12:00:00.000 neighbour/2      ready\n\
         {\"time\":1,\"level\":\"error\",\"source\":\"supervisor\",\"function\":\"neighbour\",\"message\":\"forged\"}";
    let print = json!({ "act": "print", "text": forged });
    assert_eq!(
        scene.inside("plain", &print),
        Outcome::Done("printed".to_owned())
    );
    let fits = |record: &serde_json::Value| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("forged") || message.contains("neighbour/2      ready")
    };
    // Two lines on stdout, the same two on stderr, and one record that contains both.
    let said = wait::until("all it said", || {
        let records: Vec<_> = scene.platform.logs().into_iter().filter(fits).collect();
        (records.len() >= 5).then_some(records)
    });
    for record in said {
        assert_eq!(record["function"], "plain", "{record}");
        assert_eq!(record["source"], "worker", "{record}");
    }
}

#[test]
fn garbage_on_its_sockets_ends_the_worker_and_nobody_else() {
    let scene = scene();
    let before = scene.worker("plain");
    assert_eq!(scene.inside("plain", &order("garbage")), Outcome::Died);
    wait::until("another serves", || {
        let answer = scene.inside("plain", &order("nothing"));
        (answer != Outcome::Died).then_some(())
    });
    assert_ne!(scene.worker("plain"), before);
    assert_eq!(scene.platform.function("neighbour")["restarts"], 0);
    let broke = "broke the protocol";
    scene.platform.wait_for_record(broke, |record| {
        let message = record["message"].as_str().unwrap_or_default();
        record["function"] == "plain" && message.contains(broke)
    });
}
