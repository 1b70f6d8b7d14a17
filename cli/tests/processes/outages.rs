//! Servers that are killed under load, stay down and come back: what clients get meanwhile, and when all is well
//! again. Each test prints how long requests were refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Answer, Client};
use crate::platform::{HTTP_ONLY, Place, Platform};
use crate::server::{Cache, PASSWORD, Postgres};

/// Number of requests at once: as many as a worker has handlers, so that no request queues before the wait that is
/// measured.
const CLIENTS: usize = 4;

/// Pause between a response and the client's next request. The load is steady, but less than the machine can handle.
const PACE: Duration = Duration::from_millis(10);

/// Time under load before the server is killed, and after it has recovered. All requests succeed then.
const CALM: Duration = Duration::from_secs(2);

/// Limit for a request: it waits for its resource for 2 s at most; the rest is a margin for a busy machine.
const LONGEST: Duration = Duration::from_millis(3500);

/// Limit until a server that is back is used again: the longest pause between two attempts, which is one second, and
/// the wait of requests that began before.
const HEALED: Duration = Duration::from_secs(2);

/// A server that can be killed and started again, on the same port and with the same data.
trait Server {
    /// Kills all processes of the server at once (SIGKILL).
    fn crash(&mut self);

    /// Starts the server, and waits until it accepts connections.
    fn run(&mut self);
}

impl Server for Postgres {
    fn crash(&mut self) {
        Postgres::crash(self);
    }

    fn run(&mut self) {
        Postgres::run(self);
    }
}

impl Server for Cache {
    fn crash(&mut self) {
        self.kill();
    }

    fn run(&mut self) {
        Cache::run(self);
    }
}

/// A response to a request of the load.
struct Record {
    asked: Instant,
    answered: Instant,
    answer: Answer,
}

/// Clients that send requests at a steady pace until the load ends.
struct Load {
    stop: &'static AtomicBool,
    clients: Vec<JoinHandle<Vec<Record>>>,
}

impl Load {
    fn begin(platform: &Platform, path: &'static str) -> Load {
        // Never freed: the threads of a failed test still read it after the test has ended.
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let client = |_| {
            let mut client = platform.connect();
            thread::spawn(move || ask_until(stop, &mut client, path))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { stop, clients }
    }

    /// Ends the load. Returns the responses of each client in order. A request without a response fails the test.
    fn end(mut self) -> Vec<Vec<Record>> {
        self.stop.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut self.clients).into_iter();
        clients.map(|client| client.join().unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask_until(stop: &AtomicBool, client: &mut Client, path: &str) -> Vec<Record> {
    let line = format!("GET {path}");
    let mut records = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = client.ask(&line, &[], b"");
        records.push(Record {
            asked,
            answered: Instant::now(),
            answer,
        });
        thread::sleep(PACE);
    }
    records
}

/// An outage of a server: how long it lasts, and which request its function gets meanwhile.
struct Outage {
    server: &'static str,
    function: &'static str,
    path: &'static str,
    resource: &'static str,
    down: Duration,
}

impl Outage {
    /// Kills the server under load and starts it again. Fails unless everything recovers by itself.
    fn heals(&self, platform: &Platform, server: &mut impl Server) {
        assert_eq!(platform.get(self.path).status(), 200);
        let worker = platform.worker(self.function);
        let load = Load::begin(platform, self.path);
        thread::sleep(CALM);
        let killed = Instant::now();
        server.crash();
        let gone = Instant::now();
        thread::sleep(self.down);
        let started = Instant::now();
        server.run();
        let back = Instant::now();
        thread::sleep(HEALED + CALM);
        let records = load.end();

        for record in records.iter().flatten() {
            self.check(record);
            let status = record.answer.status();
            let said = format!("{status} {:?} after the kill", record.answered - killed);
            if record.answered < killed || record.asked > back + HEALED {
                assert_eq!(status, 200, "{said}");
            }
            if record.asked > gone && record.answered < started {
                assert_eq!(status, 503, "{said}");
            }
        }
        for client in &records {
            let refused = |record: &Record| record.answer.status() != 200;
            assert!(client.iter().any(refused), "a client noticed nothing");
            assert!(client.last().is_some_and(|last| !refused(last)));
        }
        self.tell(&records, killed, started, back);
        assert_eq!(platform.worker(self.function), worker);
        assert_eq!(platform.function(self.function)["restarts"], 0);
        let said = format!("{:?} {}", platform.logs(), platform.status());
        assert!(!said.contains(PASSWORD), "{said}");
    }

    /// Asserts that the response came in time, and is a success or the problem that names the resource.
    fn check(&self, record: &Record) {
        let took = record.answered - record.asked;
        assert!(took < LONGEST, "{took:?}: {}", record.answer.text());
        if record.answer.status() != 200 {
            let problem = record.answer.problem(503, "resource");
            assert_eq!(problem["resource"], self.resource);
            assert_eq!(record.answer.header("retry-after"), Some("1"));
            assert!(!record.answer.text().contains(PASSWORD));
        }
    }

    fn tell(&self, records: &[Vec<Record>], killed: Instant, started: Instant, back: Instant) {
        let is_refused = |record: &&Record| record.answer.status() != 200;
        let refused: Vec<Instant> = records
            .iter()
            .flatten()
            .filter(is_refused)
            .map(|record| record.answered)
            .collect();
        let (first, last) = (refused.iter().min().unwrap(), refused.iter().max().unwrap());
        // The time from which no request is refused any more and each client has been served.
        let served = records.iter().filter_map(|client| {
            let mut served = client.iter().filter(|record| !is_refused(record));
            served.find(|record| record.answered > started)
        });
        let served = served.map(|record| record.answered);
        let healed = served.fold(*last, Instant::max);
        println!(
            "{}: down {:.1} s, errors from +{:.2} s to +{:.2} s after the kill, healed {:.2} s \
             after it was back, {} answered, {} refused",
            self.server,
            (started - killed).as_secs_f64(),
            (*first - killed).as_secs_f64(),
            (*last - killed).as_secs_f64(),
            healed.saturating_duration_since(back).as_secs_f64(),
            records.iter().map(Vec::len).sum::<usize>() - refused.len(),
            refused.len(),
        );
    }
}

#[test]
fn postgres_that_is_down_for_ten_seconds_under_load_heals_by_itself() {
    let mut server = Postgres::start();
    let platform = Platform::start_in(Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  pg:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: pg\n    concurrency: {CLIENTS}\n    env: {{ MIGRATE: \"yes\" }}\n    \
         resources: {{ orders_db: {{ postgres: \"{}\" }} }}\n",
        server.address()
    )));
    let outage = Outage {
        server: "postgres",
        function: "pg",
        path: "/item?1",
        resource: "orders_db",
        down: Duration::from_secs(10),
    };
    outage.heals(&platform, &mut server);
}

fn with_caches(redis: &Cache, memcached: &Cache) -> Platform {
    Platform::start_in(Place::new(&format!(
        "{HTTP_ONLY}\nfunctions:\n  caches:\n    routes: [{{ path: \"/{{path+}}\" }}]\n    \
         binary: caches\n    concurrency: {CLIENTS}\n    resources:\n      \
         sessions: {{ redis: \"{}\" }}\n      memcache: \"{}\"\n",
        redis.address(),
        memcached.address()
    )))
}

#[test]
fn redis_that_is_down_for_three_seconds_under_load_heals_by_itself() {
    let (mut redis, memcached) = (Cache::redis(), Cache::memcached());
    let platform = with_caches(&redis, &memcached);
    let outage = Outage {
        server: "redis",
        function: "caches",
        path: "/redis/count?visits",
        resource: "sessions",
        down: Duration::from_secs(3),
    };
    outage.heals(&platform, &mut redis);
}

#[test]
fn memcached_that_is_down_for_three_seconds_under_load_heals_by_itself() {
    let (redis, mut memcached) = (Cache::redis(), Cache::memcached());
    let platform = with_caches(&redis, &memcached);
    let outage = Outage {
        server: "memcached",
        function: "caches",
        path: "/memcache/count?visits",
        resource: "memcache",
        down: Duration::from_secs(3),
    };
    outage.heals(&platform, &mut memcached);
}
