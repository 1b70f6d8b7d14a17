//! Stores items in the memory of the worker. Independent of HTTP.
//!
//! Another blocking store can implement the trait. PostgreSQL needs concurrent handlers, so it has a function of its
//! own: `items_postgres`.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;

use crate::item::{Draft, Fields, Item};

/// Maximum number of items in memory: at most a few megabytes, no matter how many items clients create.
const CAPACITY: usize = 10_000;

/// A store for items. Ids ascend and are never reused.
pub(crate) trait Store {
    /// Up to `limit` items with ids above `after`, by ascending id.
    fn list(&self, after: u64, limit: usize) -> Vec<Item>;
    /// Returns the item with this id.
    fn find(&self, id: u64) -> Option<Item>;
    /// Stores a new item under a new id.
    fn insert(&mut self, draft: Draft) -> Result<Item, Full>;
    /// Replaces the item with this id. Returns `None` if there is no such item.
    fn replace(&mut self, id: u64, draft: Draft) -> Option<Item>;
    /// Removes the item with this id. Returns `false` if there was no such item.
    fn remove(&mut self, id: u64) -> bool;
}

/// The store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store holds as many items as it can")]
pub(crate) struct Full;

/// Opens the store in memory, for every value of `resources.postgres` in the manifest. Also returns a line for the log
/// that says why. The line never contains the address, which may contain a password.
pub(crate) fn open(postgres: Option<&Value>) -> (Box<dyn Store>, &'static str) {
    let notice = match postgres {
        None => "no Postgres resource is named; keeping items in memory",
        // `hearth check` also reports such a string as a placeholder.
        Some(Value::String(address)) if address.ends_with("...") => {
            "the Postgres resource is a placeholder; keeping items in memory"
        }
        Some(_) => "keeping items in memory all the same; `items_postgres` keeps them in Postgres",
    };
    (Box::new(Memory::with_starters()), notice)
}

/// Items in memory. Each worker has its own, and they are lost when the worker ends.
#[derive(Debug, Default)]
struct Memory {
    items: BTreeMap<u64, Draft>,
    last_id: u64,
}

impl Memory {
    /// A store with some items, so that the first GET shows something.
    fn with_starters() -> Memory {
        let mut memory = Memory::default();
        for (name, quantity, price_cents) in [
            ("cast iron kettle", 3, Some(4_900)),
            ("bellows", 1, Some(2_450)),
            ("birch log", 120, None),
        ] {
            let fields = Fields {
                name: name.into(),
                quantity,
                price_cents,
            };
            let draft = fields.validate().expect("the starters are valid");
            memory.insert(draft).expect("the starters fit");
        }
        memory
    }
}

impl Store for Memory {
    fn list(&self, after: u64, limit: usize) -> Vec<Item> {
        self.items
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take(limit)
            .map(|(&id, draft)| Item {
                id,
                draft: draft.clone(),
            })
            .collect()
    }

    fn find(&self, id: u64) -> Option<Item> {
        let draft = self.items.get(&id)?.clone();
        Some(Item { id, draft })
    }

    fn insert(&mut self, draft: Draft) -> Result<Item, Full> {
        if self.items.len() >= CAPACITY {
            return Err(Full);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.items.insert(id, draft.clone());
        Ok(Item { id, draft })
    }

    fn replace(&mut self, id: u64, draft: Draft) -> Option<Item> {
        let kept = self.items.get_mut(&id)?;
        kept.clone_from(&draft);
        Some(Item { id, draft })
    }

    fn remove(&mut self, id: u64) -> bool {
        self.items.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let fields = Fields {
            name: "poker".into(),
            quantity: 1,
            price_cents: None,
        };
        fields.validate().unwrap()
    }

    #[test]
    fn the_notice_says_why_and_never_repeats_the_address() {
        let check = |postgres: Option<Value>, expect: &str| {
            let (store, notice) = open(postgres.as_ref());
            assert!(notice.contains(expect), "{notice}");
            assert!(!notice.contains("s3cret"));
            assert_eq!(store.list(0, 10).len(), 3);
        };
        check(None, "no Postgres resource");
        check(Some("postgres://...".into()), "placeholder");
        check(
            Some("postgres://me:s3cret@db/items".into()),
            "`items_postgres`",
        );
        let object = serde_json::json!({ "url": "postgres://me:s3cret@db/items" });
        check(Some(object), "`items_postgres`");
    }

    #[test]
    fn an_id_is_not_given_twice() {
        let mut memory = Memory::default();
        assert_eq!(memory.insert(draft()).unwrap().id, 1);
        assert!(memory.remove(1));
        assert!(!memory.remove(1));
        assert_eq!(memory.insert(draft()).unwrap().id, 2);
    }

    #[test]
    fn a_full_memory_takes_no_more_until_one_leaves() {
        let mut memory = Memory::default();
        for _ in 0..CAPACITY {
            memory.insert(draft()).unwrap();
        }
        assert_eq!(memory.insert(draft()), Err(Full));
        assert!(memory.remove(7));
        assert!(memory.insert(draft()).is_ok());
    }
}
