//! Caches items in Redis, as the JSON of the response, and counts in memcached how often each item was read. Both
//! servers may fail at any time; no request fails because of that.

use std::rc::Rc;

use hearth_sdk::ResourceError;
use hearth_sdk::memcache::Memcache;
use hearth_sdk::redis::{Redis, redis};

use crate::spare::Spare;

/// How long an item stays in Redis, in seconds. This bounds how long clients can read an outdated item: if a write
/// could not reach Redis, or if a read of the item from PostgreSQL began before a write and stored the item in Redis
/// after it.
const KEPT: u32 = 60;

/// The cache of recently read items. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    redis: Redis,
    spare: Rc<Spare>,
}

impl Cache {
    /// A cache in the manifest's resource `redis`.
    pub(crate) fn new() -> Result<Cache, ResourceError> {
        Ok(Cache {
            redis: Redis::new()?,
            spare: Rc::default(),
        })
    }

    /// Returns the JSON of an item, if it is in the cache.
    pub(crate) async fn find(&self, id: u64) -> Option<Vec<u8>> {
        let command = redis::cmd("GET").arg(key(id)).take();
        self.spare.ask(self.redis.run(&command)).await.flatten()
    }

    /// Stores the JSON of an item for [`KEPT`] seconds.
    pub(crate) async fn keep(&self, id: u64, json: &[u8]) {
        let mut command = redis::cmd("SET");
        command.arg(key(id)).arg(json).arg("EX").arg(KEPT);
        self.spare.ask(self.redis.run::<()>(&command)).await;
    }

    /// Removes an item that has changed. Tries even if Redis is being skipped after a failure, because clients would
    /// read the outdated item when Redis is back.
    pub(crate) async fn forget(&self, id: u64) {
        let command = redis::cmd("DEL").arg(key(id)).take();
        self.spare.insist(self.redis.run::<()>(&command)).await;
    }
}

/// Counts how often items were read. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    memcache: Memcache,
    spare: Rc<Spare>,
}

impl Views {
    /// Counters in the manifest's resource `memcache`.
    pub(crate) fn new() -> Result<Views, ResourceError> {
        Ok(Views {
            memcache: Memcache::new()?,
            spare: Rc::default(),
        })
    }

    /// Counts a view. Returns the number of views since memcached last lost the counter.
    pub(crate) async fn count(&self, id: u64) -> Option<u64> {
        let key = format!("items:{id}:views");
        self.spare.ask(self.memcache.increment(&key, 1)).await
    }
}

fn key(id: u64) -> String {
    format!("items:{id}")
}
