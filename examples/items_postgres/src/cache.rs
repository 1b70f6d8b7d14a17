//! Items at hand in Redis, as the JSON they are answered with, and how often each was read, counted in
//! memcached. Both may go at any time; no request fails for it.

use std::rc::Rc;

use hearth_sdk::ResourceError;
use hearth_sdk::memcache::Memcache;
use hearth_sdk::redis::{Redis, redis};

use crate::spare::Spare;

/// Seconds that an item stays in Redis. It bounds for how long an old one can be read where a write
/// could not reach Redis, or was overtaken by a reader that had asked PostgreSQL before it.
const KEPT: u32 = 60;

/// Items that were read lately. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    redis: Redis,
    spare: Rc<Spare>,
}

impl Cache {
    /// In the manifest's `redis`.
    pub(crate) fn new() -> Result<Cache, ResourceError> {
        Ok(Cache {
            redis: Redis::new()?,
            spare: Rc::default(),
        })
    }

    /// An item's JSON, if it is there.
    pub(crate) async fn find(&self, id: u64) -> Option<Vec<u8>> {
        let command = redis::cmd("GET").arg(key(id)).take();
        self.spare.ask(self.redis.run(&command)).await.flatten()
    }

    /// Keeps an item's JSON for a while.
    pub(crate) async fn keep(&self, id: u64, json: &[u8]) {
        let mut command = redis::cmd("SET");
        command.arg(key(id)).arg(json).arg("EX").arg(KEPT);
        self.spare.ask(self.redis.run::<()>(&command)).await;
    }

    /// Forgets an item that has changed. Asks even where Redis was away just now: what stays there is
    /// read when it is back.
    pub(crate) async fn forget(&self, id: u64) {
        let command = redis::cmd("DEL").arg(key(id)).take();
        self.spare.insist(self.redis.run::<()>(&command)).await;
    }
}

/// How often items were read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    memcache: Memcache,
    spare: Rc<Spare>,
}

impl Views {
    /// In the manifest's `memcache`.
    pub(crate) fn new() -> Result<Views, ResourceError> {
        Ok(Views {
            memcache: Memcache::new()?,
            spare: Rc::default(),
        })
    }

    /// Counts one more; how many there are now, since memcached last forgot.
    pub(crate) async fn count(&self, id: u64) -> Option<u64> {
        let key = format!("items:{id}:views");
        self.spare.ask(self.memcache.increment(&key, 1)).await
    }
}

fn key(id: u64) -> String {
    format!("items:{id}")
}
