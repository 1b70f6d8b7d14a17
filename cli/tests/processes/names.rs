//! Host names: the supervisor resolves them for workers, but only those of their resources.

use std::os::unix::fs::PermissionsExt;

use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::{Cache, Postgres, free_port};

/// A host name that never exists (RFC 6761).
const NOBODY: &str = "nobody.invalid";

#[test]
fn servers_are_reached_by_name_whichever_they_are_and_whoever_asks() {
    let (postgres, redis, memcached) = (Postgres::start(), Cache::redis(), Cache::memcached());
    let named = |address: String| address.replace("127.0.0.1", "localhost");
    let platform = Platform::start_in(Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  pg:\n    routes: [{{ path: \"/pg/{{path+}}\" }}, {{ path: /item }}]\n    \
         binary: pg\n    env: {{ MIGRATE: \"yes\" }}\n    resources: {{ orders_db: {{ postgres: \"{}\" }} }}\n  \
         blocking:\n    domains: [blocking.example]\n    routes: [{{ path: \"/{{path+}}\" }}]\n    binary: blocking\n    \
         resources: {{ orders_db: {{ postgres: \"{}\" }} }}\n  \
         caches:\n    routes: [{{ path: \"/redis/{{path+}}\" }}, {{ path: \"/memcache/{{path+}}\" }}]\n    \
         binary: caches\n    resources:\n      sessions: {{ redis: \"{}\" }}\n      memcache: \"{}\"\n",
        named(postgres.address()),
        named(postgres.address()),
        named(redis.address()),
        named(memcached.address()),
    )));
    assert_eq!(platform.get("/item?1").text(), "kettle");
    let blocking = platform.ask("GET /count", &["Host: blocking.example"], b"");
    assert_eq!(blocking.status(), 200, "{}", blocking.text());
    assert_eq!(platform.get("/redis/count?visits").text(), "1");
    assert_eq!(platform.get("/memcache/count?visits").text(), "1");
}

#[test]
fn hosts_of_an_address_are_tried_in_their_order_and_what_ails_them_is_told() {
    let server = Postgres::start();
    let place = |hosts: &str| {
        let address = server.address().replace("127.0.0.1", hosts);
        Place::new(&format!(
            "{HTTP_ONLY}\nfunctions:\n  pg:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    binary: pg\n    \
             resources: {{ orders_db: {{ postgres: \"{address}\" }} }}\n"
        ))
    };
    let dead = free_port();
    let platform = Platform::start_in(place(&format!("127.0.0.1:{dead},{NOBODY}:1,127.0.0.1")));
    // The table need not exist: any response shows that a server was reached.
    assert_eq!(platform.get("/sleep?1").text(), "slept");

    let platform = Platform::start_in(place(NOBODY));
    let answer = platform.get("/sleep?1");
    let problem = answer.problem(503, "resource");
    let id = problem["request"].clone();
    platform.wait_for_record("the name is told", |record| {
        let message = record["message"].as_str().unwrap_or_default();
        record["request"] == id && message.contains(&format!("cannot resolve {NOBODY}"))
    });
}

/// A worker that queries names that it must not learn, and prints the answers.
const NOSY: &str = r#"#!/usr/bin/env python3
import os, socket, struct, time

def frame(kind, payload=b""):
    return struct.pack("<IIBBHI", len(payload), 0, kind, 0, 0, 0) + payload

control = socket.socket(fileno=3)
control.sendall(frame(1, b"HRTH\1\1\2\0"))
control.recv(1 << 20)
def ask(host):
    ours, theirs = socket.socketpair()
    socket.send_fds(control, [frame(11, host)], [theirs.fileno()])
    theirs.close()
    return ours
def told(ours):
    answer = ours.recv(4096)
    ours.close()
    return "%d %s" % (struct.unpack("<I", answer[12:16])[0], answer[16:].decode().splitlines()[0])
for host in [b"LOCALHOST", b"stolen-words.attacker.example", b"", b"127.0.0.1", b"localhost\0"]:
    print("told", host, told(ask(host)), flush=True)
open_ones = [ask(b"nobody.invalid") for _ in range(40)]
print("told", "many", sorted({told(one) for one in open_ones})[-1], flush=True)
# What is no socket gets no answer, and harms nobody.
with open("/dev/null", "rb") as null:
    socket.send_fds(control, [frame(11, b"localhost")], [null.fileno()])
control.sendall(frame(3))
while not os.path.exists("signs/rude"):
    time.sleep(0.05)
control.sendall(frame(11, b"localhost"))
control.recv(1)
"#;

#[test]
fn a_worker_learns_the_addresses_of_its_resources_and_of_nobody_else() {
    let place = Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  nosy:\n    routes: [{{ path: / }}]\n    binary: nosy\n    \
         resources: {{ one: {{ redis: \"redis://localhost\" }}, two: {{ redis: \"redis://{NOBODY}\" }} }}\n    \
         sandbox: {{ read: [signs] }}\n"
    ));
    let program = place.path().join("nosy");
    std::fs::write(&program, NOSY).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(place.path().join("signs")).unwrap();
    let rude = place.path().join("signs/rude");
    let platform = Platform::start_in(place);
    let refused = "1 no resource of the function names this host";
    for (host, expect) in [
        ("b'stolen-words.attacker.example'", refused),
        ("b''", refused),
        ("b'127.0.0.1'", refused),
        ("b'localhost\\x00'", refused),
        ("many", "1 too many questions at once"),
    ] {
        let line = format!("told {host} {expect}");
        platform.wait_for_record(&line, |record| record["message"] == line.as_str());
    }
    platform.wait_for_record("an address of localhost", |record| {
        let message = record["message"].as_str().unwrap_or_default();
        ["told b'LOCALHOST' 0 127.0.0.1", "told b'LOCALHOST' 0 ::1"].contains(&message)
    });
    std::fs::write(rude, "").unwrap();
    platform.wait_for_record("a breach", |record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("RESOLVE without a descriptor")
    });
}
