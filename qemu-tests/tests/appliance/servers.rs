//! The seed's functions on a device, with PostgreSQL, Redis and memcached on this host.

use std::fs;

use crate::device::{BOOT, Device};
use crate::lab::Lab;
use crate::server::{Cache, PASSWORD, Postgres};
use crate::wait;

/// This host's address, as the device sees it.
const HOST: &str = "10.0.2.2";

#[test]
fn functions_answer_from_servers_of_the_network() {
    let lab = Lab::get();
    let postgres = Postgres::start();
    let (redis, memcached) = (Cache::redis(), Cache::memcached());
    let seen = |address: String| address.replace("127.0.0.1", HOST);
    let seed = fs::read_to_string(lab.source.join("examples/edge-postgres.yaml")).unwrap();
    let manifest = seed
        .replace(
            "postgres://hearth:hearth@127.0.0.1/hearth",
            &seen(postgres.address()),
        )
        .replace("redis://127.0.0.1:6379/0", &seen(redis.address()))
        .replace("memcache://127.0.0.1:11211", &seen(memcached.address()));
    assert!(
        manifest.contains(PASSWORD) && !manifest.contains("6379"),
        "{manifest}"
    );
    // The manifest goes next to the seed's own, because paths of programs are relative to it.
    let own = lab
        .source
        .join(format!("examples/.seed-{}.yaml", lab.arch.name()));
    fs::write(&own, manifest).unwrap();
    let image = lab.place.join("seed.img");
    lab.build(&own, &image);
    fs::remove_file(&own).unwrap();
    let mut device = Device::new("seed", &image);
    let on = device.on();
    let api = ["-H", "Host: api.example.com"];
    on.says("https://", BOOT);
    let item = [
        "-H",
        "Host: api.example.com",
        "-d",
        r#"{"name":"trivet","quantity":2,"price_cents":900}"#,
    ];
    // A function that cannot reach its database yet, because the network came up later, is restarted.
    let made = wait::within(
        Lab::get().speed.scale(BOOT),
        "the database is reached",
        || on.ask("https", &item, "/items").ok(),
    );
    assert!(made.contains("trivet"), "{made}");
    let id = serde_json::from_str::<serde_json::Value>(&made).unwrap()["id"].clone();
    for _ in 0..3 {
        let read = on.ask("https", &api, &format!("/items/{id}")).unwrap();
        assert!(read.contains("trivet"), "{read}");
    }
    assert_eq!(
        postgres
            .ask("select count(*) from items where name = 'trivet'")
            .as_deref(),
        Some("1")
    );
    on.logs_in();
    // These are all large files that the tests have added.
    on.order(&["loosen"]);
    for large in ["attacks", "hostile", "hello"] {
        on.order(&["write", &format!("/bin/tests/{large}"), ""]);
    }
    let used = on.memory("MemTotal") - on.memory("MemAvailable");
    println!("idle with the seed's functions: {used} kB of memory are not available");
}
