//! Functions that use a real PostgreSQL server: connections that are kept, and every way to lose them.

use std::time::{Duration, Instant};

use crate::http::{Answer, request};
use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::{PASSWORD, Postgres, free_port, silent};
use crate::wait;

/// Limit for a request: the longest wait for a resource, and a margin for a busy machine.
const BOUND: Duration = Duration::from_millis(3500);

fn place(address: &str, more: &str) -> Place {
    Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  pg:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: pg\n    resources: {{ orders_db: {{ postgres: \"{address}\" }} }}\n    {more}\n"
    ))
}

fn migrated(server: &Postgres) -> Platform {
    let more = "concurrency: 4\n    env: { MIGRATE: \"yes\" }";
    Platform::start_in(place(&server.address(), more))
}

/// Asserts that this is the response to a request while the server is down.
fn assert_unavailable(answer: &Answer) {
    let problem = answer.problem(503, "resource");
    assert_eq!(problem["resource"], "orders_db");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.text().contains(PASSWORD));
}

/// Asserts that neither the log nor the status contains the password.
fn assert_hidden(platform: &Platform) {
    let said = format!("{:?} {}", platform.logs(), platform.status());
    assert!(!said.contains(PASSWORD), "{said}");
}

fn connections(server: &Postgres) -> String {
    let sql = "SELECT count(*), count(DISTINCT pid), sum(extract(epoch FROM backend_start)) \
               FROM pg_stat_activity WHERE application_name = 'pg'";
    server.ask(sql).unwrap()
}

#[test]
fn connections_are_kept_across_requests() {
    let server = Postgres::start();
    let platform = migrated(&server);
    let ask = |count: usize| {
        let clients = (0..4).map(|_| {
            let address = platform.http();
            std::thread::spawn(move || {
                let mut client = crate::http::Client::connect(address);
                for _ in 0..count {
                    let answer = client.ask("GET /item?1", &[], b"");
                    assert_eq!(answer.text(), "kettle");
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().for_each(|one| one.join().unwrap());
    };
    ask(50);
    let before = connections(&server);
    let count: u32 = before.split('|').next().unwrap().parse().unwrap();
    assert!((1..=4).contains(&count), "{before}");
    ask(1000);
    assert_eq!(connections(&server), before);
    assert_eq!(platform.get("/item?2").status(), 404);
    assert_hidden(&platform);
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_used_again_and_nothing_else_is_lost() {
    let mut server = Postgres::start();
    let platform = migrated(&server);
    let worker = platform.get("/worker").text().to_owned();
    assert_eq!(platform.get("/item?1").text(), "kettle");
    server.kill();
    let lost = Instant::now();
    let mut longest = Duration::ZERO;
    while lost.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_unavailable(&platform.get("/item?1"));
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < BOUND, "{longest:?}");
    server.run();
    let back = Instant::now();
    let healed = wait::within(Duration::from_secs(5), "it is used again", || {
        let answer = platform.get("/item?1");
        match answer.status() {
            200 => Some(back.elapsed()),
            _ => {
                assert_unavailable(&answer);
                None
            }
        }
    });
    println!("answers were 503 for {healed:?} after the server was back");
    assert_eq!(platform.get("/worker").text(), worker);
    assert_hidden(&platform);
}

#[test]
fn a_server_that_is_restarted_between_two_requests_costs_none() {
    let mut server = Postgres::start();
    let platform = migrated(&server);
    assert_eq!(platform.get("/item?1").text(), "kettle");
    server.kill();
    server.run();
    assert_eq!(platform.get("/item?1").text(), "kettle");
}

#[test]
fn without_a_server_a_function_starts_and_says_503_until_there_is_one() {
    let mut server = Postgres::prepare();
    let platform = Platform::start_in(place(&server.address(), ""));
    let asked = Instant::now();
    assert_unavailable(&platform.get("/item?1"));
    assert!(asked.elapsed() < BOUND);
    server.run();
    wait::within(Duration::from_secs(5), "it is used", || {
        // The server answers, but the table does not exist.
        (platform.get("/item?1").status() == 500).then_some(())
    });
}

#[test]
fn a_start_that_needs_a_server_refuses_the_reload_without_one() {
    let server = Postgres::start();
    let platform = migrated(&server);
    let nobody = format!("postgres://shop:{PASSWORD}@127.0.0.1:{}/x", free_port());
    let other = place(&nobody, "env: { MIGRATE: \"yes\" }");
    let text = std::fs::read_to_string(other.manifest()).unwrap();
    std::fs::write(platform.place.manifest(), text).unwrap();
    let refused = platform.place.hearth("reload", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("resource `orders_db` is not available"),
        "{said}"
    );
    assert!(!said.contains(PASSWORD), "{said}");
    assert_eq!(platform.get("/item?1").text(), "kettle");
}

#[test]
fn a_server_that_says_nothing_costs_a_bounded_wait() {
    let (address, _listener) = silent();
    let platform = Platform::start_in(place(&address, ""));
    for _ in 0..2 {
        let asked = Instant::now();
        assert_unavailable(&platform.get("/item?1"));
        assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    }
}

#[test]
fn a_wrong_password_is_told_to_the_log_and_to_no_client() {
    let server = Postgres::start();
    let address = server.address().replace(PASSWORD, "wrong-guess");
    let platform = Platform::start_in(place(&address, ""));
    let answer = platform.get("/item?1");
    assert_unavailable(&answer);
    assert!(!answer.text().contains("password"), "{}", answer.text());
    platform.wait_for_record("the reason is told", |record| {
        let said = record["message"].as_str().unwrap_or_default();
        said.contains("password authentication failed")
    });
    let said = format!("{:?}", platform.logs());
    assert!(!said.contains("wrong-guess"), "{said}");
}

#[test]
fn a_query_that_the_server_refuses_is_a_500_with_its_reason_in_the_log_alone() {
    let server = Postgres::start();
    let platform = migrated(&server);
    let answer = platform.get("/missing");
    answer.problem(500, "worker");
    assert!(!answer.text().contains("no_such_table"));
    let id = answer.header("x-request-id").unwrap();
    platform.wait_for_record("the reason is told", |record| {
        let said = record["message"].as_str().unwrap_or_default();
        record["request"] == id && said.contains("relation \"no_such_table\" does not exist")
    });
    assert_eq!(platform.get("/item?1").text(), "kettle");
}

#[test]
fn who_wants_more_connections_than_there_are_waits_for_a_bounded_time() {
    let server = Postgres::start();
    let more = "concurrency: 2\n    env: { MIGRATE: \"yes\" }";
    let platform = Platform::start_in(place(&server.address(), more));
    // Each handler has one connection and needs another.
    let mut clients = [platform.connect(), platform.connect()];
    let asked = Instant::now();
    for client in &mut clients {
        client.send(request("GET /two", &[], b""));
    }
    let answers = clients.map(|mut client| client.answer("GET"));
    assert!(asked.elapsed() < BOUND);
    assert!(answers.iter().any(|answer| answer.status() == 503));
    assert_eq!(platform.get("/two").status(), 200);
}

#[test]
fn more_requests_than_connections_wait_and_are_all_served() {
    let server = Postgres::start();
    let more = "concurrency: 2\n    env: { MIGRATE: \"yes\" }";
    let platform = Platform::start_in(place(&server.address(), more));
    let mut clients: Vec<_> = (0..12).map(|_| platform.connect()).collect();
    for client in &mut clients {
        client.send(request("GET /sleep?50", &[], b""));
    }
    for client in &mut clients {
        assert_eq!(client.answer("GET").text(), "slept");
    }
    assert!(connections(&server).starts_with("2|"));
}

/// The number of the function's queries that sleep at the server.
fn sleeping(server: &Postgres) -> String {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' \
               AND application_name = 'pg' AND state = 'active'";
    server.ask(sql).unwrap()
}

#[test]
fn a_query_that_outlasts_its_requests_time_is_a_504_and_stopped_at_the_server() {
    let server = Postgres::start();
    let more = "timeout: 1s\n    env: { MIGRATE: \"yes\" }";
    let platform = Platform::start_in(place(&server.address(), more));
    let worker = platform.get("/worker").text().to_owned();
    let mut client = platform.connect();
    client.send(request("GET /sleep?60000", &[], b""));
    wait::until("the query runs", || {
        (sleeping(&server) == "1").then_some(())
    });
    client.answer("GET").problem(504, "timeout");
    wait::within(Duration::from_secs(5), "the query is stopped", || {
        (sleeping(&server) == "0").then_some(())
    });
    // One handler has one connection. It is free for the next request, and no other request was affected.
    for _ in 0..3 {
        assert_eq!(platform.get("/item?1").text(), "kettle");
    }
    wait::until("one connection is left", || {
        connections(&server).starts_with("1|").then_some(())
    });
    assert_eq!(platform.get("/worker").text(), worker);
}

#[test]
fn a_query_whose_client_has_gone_is_stopped_and_holds_up_nobody() {
    let server = Postgres::start();
    let more = "env: { MIGRATE: \"yes\" }";
    let platform = Platform::start_in(place(&server.address(), more));
    let mut client = platform.connect();
    client.send(request("GET /sleep?60000", &[], b""));
    wait::until("the query runs", || {
        (sleeping(&server) == "1").then_some(())
    });
    client.hang_up();
    wait::within(Duration::from_secs(5), "the query is stopped", || {
        (sleeping(&server) == "0").then_some(())
    });
    let asked = Instant::now();
    assert_eq!(platform.get("/item?1").text(), "kettle");
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_handler_that_blocks_keeps_its_connection_too_and_gets_another_when_it_is_lost() {
    let mut server = Postgres::start();
    let address = server.address();
    let platform = Platform::start_in(Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  f:\n    routes: [{{ path: / }}]\n    binary: blocking\n    \
         resources: {{ orders_db: {{ postgres: \"{address}\" }} }}\n"
    )));
    let first = platform.get("/").text().to_owned();
    for _ in 0..20 {
        assert_eq!(platform.get("/").text(), first, "the same backend");
    }
    server.kill();
    assert_unavailable(&platform.get("/"));
    server.run();
    wait::within(Duration::from_secs(5), "it is used again", || {
        (platform.get("/").status() == 200).then_some(())
    });
    // The server restarts while no request uses the connection.
    server.kill();
    server.run();
    assert_eq!(platform.get("/").status(), 200);
}
