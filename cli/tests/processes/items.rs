//! The items of `examples/edge-postgres.yaml`, unchanged except for ports and addresses, with real servers: where
//! data is stored, where it is read from, and what works without each of the servers.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bad_json;
use crate::http::{Answer, Client};
use crate::platform::{Place, Platform, function};
use crate::server::{Cache, PASSWORD, Postgres};
use crate::wait;

const HOST: &str = "Host: api.example.com";

/// The JSON of item 2 in a fresh database.
const BELLOWS: &str = r#"{"id":2,"name":"bellows","quantity":1,"price_cents":2450}"#;

/// The three servers that the example needs.
struct Servers {
    postgres: Postgres,
    redis: Cache,
    memcached: Cache,
}

impl Servers {
    fn start() -> Servers {
        Servers {
            postgres: Postgres::start(),
            redis: Cache::redis(),
            memcached: Cache::memcached(),
        }
    }

    /// The example's manifest with these servers, this many workers of `items_api`, and ports that the kernel
    /// chooses.
    fn place(&self, workers: u32) -> Place {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut text = fs::read_to_string(root.join("examples/edge-postgres.yaml")).unwrap();
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "the manifest has no {from}");
            text = text.replace(from, to);
        };
        replace("service: edge-platform\n", "");
        let http = r#"http: "127.0.0.1:8080", https: "127.0.0.1:8443""#;
        replace(http, r#"http: "127.0.0.1:0", https: "off""#);
        replace("min: 2", &format!("min: {workers}"));
        let postgres = "postgres://hearth:hearth@127.0.0.1/hearth";
        replace(postgres, &self.postgres.address());
        replace("redis://127.0.0.1:6379/0", &self.redis.address());
        replace("memcache://127.0.0.1:11211", &self.memcached.address());
        for (from, name) in [
            ("bin/auth_login", "auth_login"),
            ("bin/items_postgres", "items_postgres"),
            ("bin/items_events", "items_events"),
        ] {
            replace(from, function(name).to_str().unwrap());
        }
        Place::new(&text)
    }
}

fn ask(platform: &Platform, line: &str, body: &str) -> Answer {
    platform.ask(line, &[HOST], body.as_bytes())
}

fn get(platform: &Platform, target: &str) -> Answer {
    ask(platform, &format!("GET {target}"), "")
}

/// Requests an item that exists. Returns its JSON.
fn item(platform: &Platform, id: u32) -> String {
    let answer = get(platform, &format!("/items/{id}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.text().to_owned()
}

fn views(platform: &Platform, id: u32) -> Option<u32> {
    let answer = get(platform, &format!("/items/{id}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.header("x-views").map(|count| count.parse().unwrap())
}

#[test]
fn items_answer_as_those_in_memory_do_and_outlive_the_platform() {
    let servers = Servers::start();
    let platform = Platform::start_in(servers.place(2));
    let made = ask(
        &platform,
        "POST /items",
        r#"{"name":" poker ","quantity":2}"#,
    );
    assert_eq!(
        (made.status(), made.text()),
        (201, r#"{"id":4,"name":"poker","quantity":2}"#)
    );
    assert_eq!(made.header("location"), Some("/items/4"));
    let put = r#"{"name":"poker","quantity":1,"price_cents":900}"#;
    let poker = r#"{"id":4,"name":"poker","quantity":1,"price_cents":900}"#;
    assert_eq!(ask(&platform, "PUT /items/4", put).text(), poker);
    assert_eq!(ask(&platform, "DELETE /items/1", "").status(), 204);
    assert_eq!(
        get(&platform, "/items?limit=1").text(),
        format!(r#"{{"items":[{BELLOWS}],"next_after":2}}"#)
    );
    for line in [
        "GET /items/1",
        "DELETE /items/1",
        "GET /items/18446744073709551615",
    ] {
        let answer = ask(&platform, line, "");
        assert_eq!(answer.status(), 404, "{line}");
        assert_eq!(answer.json()["title"], "No such item", "{line}");
    }
    let wrong = ask(
        &platform,
        "PUT /items/4",
        r#"{"name":"a\u0000b","quantity":1}"#,
    );
    assert_eq!(
        (wrong.status(), &wrong.json()["field"]),
        (422, &"name".into())
    );

    let (ended, place) = platform.end(Signal::SIGTERM);
    assert_eq!(ended.code(), Some(0));
    let platform = Platform::start_in(place);
    assert_eq!(
        get(&platform, "/items?after=2").text(),
        format!(r#"{{"items":[{{"id":3,"name":"birch log","quantity":120}},{poker}]}}"#)
    );
    assert_eq!(get(&platform, "/items/1").status(), 404);
    let said = format!("{:?} {}", platform.logs(), platform.status());
    assert!(!said.contains(PASSWORD), "{said}");
}

#[test]
fn what_is_no_item_is_refused_as_by_those_in_memory() {
    let servers = Servers::start();
    let place = servers.place(1);
    let text = fs::read_to_string(place.manifest()).unwrap();
    fs::write(
        place.manifest(),
        text.replace("body_bytes: 64KiB", "body_bytes: 1MiB"),
    )
    .unwrap();
    let platform = Platform::start_in(place);
    let worker = platform.worker("items_api");
    bad_json::is_refused(&platform);
    assert_eq!(platform.worker("items_api"), worker);
}

#[test]
fn migrations_run_once_whoever_starts_at_the_same_time() {
    const WORKERS: u32 = 8;
    let servers = Servers::start();
    let postgres = &servers.postgres;
    let ask = |sql: &str| postgres.ask(sql).unwrap();
    std::thread::scope(|scope| {
        // A session holds the lock, so that all workers wait for it at the same time.
        scope
            .spawn(|| postgres.ask("SELECT pg_advisory_lock(x'6974656D73'::BIGINT), pg_sleep(60)"));
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = ";
        wait::until("the lock is held", || {
            (ask(&format!("{locks} true")) == "1").then_some(())
        });
        let platform = Platform::begin(servers.place(WORKERS));
        wait::until("all workers wait", || {
            (ask(&format!("{locks} false")) == WORKERS.to_string()).then_some(())
        });
        assert_eq!(ask("SELECT to_regclass('items') IS NULL"), "t");
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
        );
        platform.wait_ready();

        let done = "SELECT string_agg(number || ' ' || name, ', ' ORDER BY number) \
                    FROM items_migrations";
        assert_eq!(ask(done), "1 items, 2 starters, 3 news");
        assert_eq!(ask("SELECT count(*) FROM items"), "3");
        let logs = platform.logs();
        let said = logs.iter().filter_map(|record| record["message"].as_str());
        let migrations = said.filter(|said| said.starts_with("migration "));
        assert_eq!(migrations.count(), 3, "{logs:#?}");
    });
}

/// The JSON of an item, once it comes from Redis: PostgreSQL has another name for the item by then. On a busy machine
/// the function may bypass Redis for a moment, so this tries repeatedly.
fn from_redis(platform: &Platform, servers: &Servers, id: u32) -> String {
    let mut round = 0;
    wait::until("Redis answers", || {
        let mut rename = || {
            round += 1;
            let sql = format!("UPDATE items SET name = 'name {round}' WHERE id = {id}");
            servers.postgres.ask(&sql).unwrap();
            item(platform, id)
        };
        let before = rename();
        (rename() == before).then_some(before)
    })
}

#[test]
fn an_item_is_read_from_redis_until_somebody_writes_it() {
    let servers = Servers::start();
    let platform = Platform::start_in(servers.place(2));
    let old = from_redis(&platform, &servers, 2);
    let put = r#"{"name":"new bellows","quantity":7}"#;
    let new = ask(&platform, "PUT /items/2", put).text().to_owned();
    assert_ne!(new, old);
    for _ in 0..2 {
        assert_eq!(item(&platform, 2), new);
    }
    from_redis(&platform, &servers, 2);
    assert_eq!(ask(&platform, "DELETE /items/2", "").status(), 204);
    assert_eq!(get(&platform, "/items/2").status(), 404);
}

#[test]
fn views_are_counted_for_each_item_by_all_workers_together() {
    let servers = Servers::start();
    let platform = Platform::start_in(servers.place(2));
    let mut counts = Vec::new();
    let mut asked = 0;
    wait::until("ten views are counted", || {
        asked += 1;
        counts.extend(views(&platform, 3));
        (counts.len() == 10).then_some(())
    });
    assert!(counts.is_sorted_by(|one, next| one < next), "{counts:?}");
    assert!(counts[9] <= asked, "{counts:?} of {asked}");
    let other = wait::until("another one's are", || views(&platform, 2));
    assert!(other < 10, "{other} of another item");
    // Views of missing items are not counted, nor are lists, which show no item in particular.
    assert_eq!(get(&platform, "/items/99").header("x-views"), None);
    assert_eq!(get(&platform, "/items").header("x-views"), None);
}

#[test]
fn without_redis_and_memcached_items_are_served_all_the_same() {
    let mut servers = Servers::start();
    let platform = Platform::start_in(servers.place(1));
    let worker = platform.worker("items_api");
    let old = from_redis(&platform, &servers, 2);
    wait::until("views are counted", || views(&platform, 2));
    servers.redis.kill();
    servers.memcached.kill();
    let begin = Instant::now();
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while begin.elapsed() < Duration::from_secs(3) {
        let one = Instant::now();
        let answer = get(&platform, "/items/2");
        longest = longest.max(one.elapsed());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_ne!(answer.text(), old, "who has this?");
        assert_eq!(answer.header("x-views"), None);
        asked += 1;
    }
    let logs = platform.logs();
    let warnings = logs.iter().filter(|record| {
        let said = record["message"].as_str().unwrap_or_default();
        record["level"] == "warn" && record["request"].is_string() && said.contains("going on")
    });
    let warnings = warnings.count();
    println!("{asked} requests, {warnings} found somebody away, the longest {longest:?}");
    // The function tries each of the two servers once a second, and may detect both failures in the first second.
    let seconds = begin.elapsed().as_secs() as usize;
    assert!((2..=2 * (seconds + 1)).contains(&warnings), "{warnings}");
    // The SDK's own limit would be two seconds.
    assert!(longest < Duration::from_millis(1900), "{longest:?}");

    let poker = r#"{"name":"poker","quantity":2}"#;
    assert_eq!(ask(&platform, "POST /items", poker).status(), 201);
    let put = ask(&platform, "PUT /items/2", poker);
    assert_eq!(put.status(), 200);
    assert_eq!(item(&platform, 2), put.text());
    assert_eq!(ask(&platform, "DELETE /items/4", "").status(), 204);

    servers.redis.run();
    servers.memcached.run();
    wait::within(Duration::from_secs(5), "views are counted again", || {
        views(&platform, 3)
    });
    from_redis(&platform, &servers, 3);
    assert_eq!(platform.worker("items_api"), worker);
}

#[test]
fn without_postgres_the_resource_is_named_and_what_redis_has_is_served() {
    let mut servers = Servers::start();
    let platform = Platform::start_in(servers.place(1));
    let kept = from_redis(&platform, &servers, 2);
    servers.postgres.kill();
    wait::until("Redis answers", || {
        let answer = get(&platform, "/items/2");
        (answer.status() == 200).then(|| assert_eq!(answer.text(), kept))
    });
    let problem = get(&platform, "/items/3").problem(503, "resource");
    assert_eq!(problem["resource"], "postgres");
    servers.postgres.run();
    wait::within(Duration::from_secs(5), "it is used again", || {
        (get(&platform, "/items/3").status() == 200).then_some(())
    });
}

#[test]
fn a_start_without_postgres_says_why_and_succeeds_once_there_is_one() {
    let mut servers = Servers {
        postgres: Postgres::prepare(),
        redis: Cache::redis(),
        memcached: Cache::memcached(),
    };
    let platform = Platform::begin(servers.place(1));
    for function in ["items_api", "items_events"] {
        platform.wait_for_record("the reason is told", |record| {
            let said = record["message"].as_str().unwrap_or_default();
            record["function"] == function && said.contains("`postgres`")
        });
    }
    servers.postgres.run();
    platform.wait_ready();
    assert_eq!(item(&platform, 2), BELLOWS);
    let said = format!("{:?} {}", platform.logs(), platform.status());
    assert!(!said.contains(PASSWORD), "{said}");
}

/// Listens for new items, and reads the event that shows that the function listens, too.
fn listener(platform: &Platform) -> Client {
    let mut client = platform.connect();
    client.send(crate::http::request("GET /items/events", &[HOST], b""));
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(event(&mut client), "retry: 1000\n\n");
    client
}

fn event(client: &mut Client) -> String {
    String::from_utf8(client.chunk().unwrap().unwrap()).unwrap()
}

#[test]
fn new_items_are_told_to_all_who_listen_whoever_makes_them() {
    let mut servers = Servers::start();
    let platform = Platform::start_in(servers.place(1));
    let mut clients = [listener(&platform), listener(&platform)];
    let made = ask(&platform, "POST /items", r#"{"name":"poker","quantity":2}"#);
    let by_hand = "INSERT INTO items (name, quantity, price_cents) VALUES ('tongs', 1, 5)";
    servers.postgres.ask(by_hand).unwrap();
    let tongs = r#"{"id":5,"name":"tongs","quantity":1,"price_cents":5}"#;
    for client in &mut clients {
        for expect in [made.text(), tongs] {
            let heard = event(client);
            let data = heard.strip_prefix("event: item\ndata: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(
                data,
                serde_json::from_str::<serde_json::Value>(expect).unwrap()
            );
        }
    }
    // A client that listened before the server ended gets new items once the server is back.
    servers.postgres.kill();
    servers.postgres.run();
    let [mut first, second] = clients;
    second.hang_up();
    wait::until("it listens again", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle' \
                   AND query LIKE 'LISTEN %'";
        (servers.postgres.ask(sql)? == "1").then_some(())
    });
    servers.postgres.ask(by_hand).unwrap();
    assert!(event(&mut first).contains("tongs"));
}
