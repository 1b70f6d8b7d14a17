//! Functions that use real Redis and memcached servers.

use std::time::{Duration, Instant};

use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::{Cache, PASSWORD, silent};
use crate::wait;

/// Limit for a request: the longest wait for a resource, and a margin for a busy machine.
const BOUND: Duration = Duration::from_millis(3500);

fn start(redis: &str, memcache: &str) -> Platform {
    Platform::start_in(Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  caches:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: caches\n    concurrency: 4\n    resources:\n      \
         sessions: {{ redis: \"{redis}\" }}\n      memcache: \"{memcache}\"\n"
    )))
}

#[test]
fn commands_reach_their_servers_and_what_these_refuse_is_a_500() {
    let (redis, memcached) = (Cache::redis(), Cache::memcached());
    let platform = start(&redis.address(), &memcached.address());
    for path in ["/redis/count?visits", "/memcache/count?visits"] {
        for expect in ["1", "2", "3"] {
            assert_eq!(platform.get(path).text(), expect, "{path}");
        }
    }
    assert_eq!(platform.get("/memcache/get?a").status(), 404);
    assert_eq!(platform.get("/memcache/set?a").status(), 200);
    assert_eq!(platform.get("/memcache/get?a").text(), "kept");
    assert_eq!(platform.get("/memcache/delete?a").text(), "true");
    assert_eq!(platform.get("/memcache/delete?a").text(), "false");
    let long = "k".repeat(300);
    for path in ["/redis/wrong?visits", &format!("/memcache/get?{long}")] {
        let answer = platform.get(path);
        let problem = answer.problem(500, "worker");
        let id = problem["request"].clone();
        platform.wait_for_record("the reason is told", |record| {
            record["request"] == id && record["level"] == "error"
        });
    }
    assert_eq!(platform.get("/memcache/count?visits").text(), "4");
}

/// Kills a server while one client sends requests, starts it again, and checks that the function uses it again.
fn heals(platform: &Platform, server: &mut Cache, path: &str, resource: &str) {
    assert_eq!(platform.get(path).status(), 200);
    let worker = platform.worker("caches");
    server.kill();
    let lost = Instant::now();
    while lost.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let answer = platform.get(path);
        let problem = answer.problem(503, "resource");
        assert_eq!(problem["resource"], resource);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(!answer.text().contains(PASSWORD));
        assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    }
    server.run();
    let back = Instant::now();
    let healed = wait::within(Duration::from_secs(5), "it is used again", || {
        (platform.get(path).status() == 200).then(|| back.elapsed())
    });
    println!("{resource}: answers were 503 for {healed:?} after the server was back");
    assert_eq!(platform.worker("caches"), worker);
    // If the server restarts between two requests, no request fails.
    std::thread::sleep(Duration::from_millis(1200));
    server.kill();
    server.run();
    assert_eq!(platform.get(path).status(), 200);
    let said = format!("{:?} {}", platform.logs(), platform.status());
    assert!(!said.contains(PASSWORD), "{said}");
}

#[test]
fn redis_that_is_killed_and_comes_back_is_used_again() {
    let (mut redis, memcached) = (Cache::redis(), Cache::memcached());
    let platform = start(&redis.address(), &memcached.address());
    heals(&platform, &mut redis, "/redis/count?visits", "sessions");
}

#[test]
fn memcached_that_is_killed_and_comes_back_is_used_again() {
    let (redis, mut memcached) = (Cache::redis(), Cache::memcached());
    let platform = start(&redis.address(), &memcached.address());
    heals(
        &platform,
        &mut memcached,
        "/memcache/count?visits",
        "memcache",
    );
}

#[test]
fn servers_that_say_nothing_and_commands_that_take_too_long_cost_a_bounded_wait() {
    let (address, _listener) = silent();
    let host = address
        .split('@')
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let quiet = start(&format!("redis://{host}"), &format!("memcache://{host}"));
    let redis = Cache::redis();
    let busy = start(&redis.address(), &format!("memcache://{host}"));
    for (platform, path) in [
        (&quiet, "/redis/count?a"),
        (&quiet, "/memcache/count?a"),
        (&busy, "/redis/sleep?60"),
    ] {
        let asked = Instant::now();
        platform.get(path).problem(503, "resource");
        assert!(asked.elapsed() < BOUND, "{path}: {:?}", asked.elapsed());
    }
}

#[test]
fn a_wrong_password_is_a_503_and_told_to_the_log_alone() {
    let (redis, memcached) = (Cache::redis(), Cache::memcached());
    let address = redis.address().replace(PASSWORD, "wrong-guess");
    let platform = start(&address, &memcached.address());
    platform.get("/redis/count?a").problem(503, "resource");
    let said = format!("{:?}", platform.logs());
    assert!(!said.contains("wrong-guess"), "{said}");
}
