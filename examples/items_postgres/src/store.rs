//! Stores items in PostgreSQL, the authoritative copy. Independent of HTTP and of the caches; `migration` creates the
//! schema.

use hearth_sdk::postgres::tokio_postgres::Row;
use hearth_sdk::postgres::{Error, Postgres};

use crate::item::{Draft, Item};

/// The store of items. Cheap to clone. Ids ascend and are never reused. An id beyond the range of the database belongs
/// to no item.
#[derive(Clone, Debug)]
pub(crate) struct Store(Postgres);

impl Store {
    /// A store in this database, whose schema must exist.
    pub(crate) fn new(database: Postgres) -> Store {
        Store(database)
    }

    /// Up to `limit` items with ids above `after`, by ascending id.
    pub(crate) async fn list(&self, after: u64, limit: usize) -> Result<Vec<Item>, Error> {
        let sql = "SELECT id, name, quantity, price_cents FROM items WHERE id > $1 \
                   ORDER BY id LIMIT $2";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let client = self.0.get().await?;
        let rows = client.query(sql, &[&after, &limit]).await?;
        Ok(rows.iter().map(item).collect())
    }

    /// Returns the item with this id.
    pub(crate) async fn find(&self, id: u64) -> Result<Option<Item>, Error> {
        let sql = "SELECT id, name, quantity, price_cents FROM items WHERE id = $1";
        let Ok(id) = i64::try_from(id) else {
            return Ok(None);
        };
        let client = self.0.get().await?;
        let row = client.query_opt(sql, &[&id]).await?;
        Ok(row.as_ref().map(item))
    }

    /// Stores a new item under a new id.
    pub(crate) async fn insert(&self, draft: Draft) -> Result<Item, Error> {
        let sql = "INSERT INTO items (name, quantity, price_cents) VALUES ($1, $2, $3) \
                   RETURNING id, name, quantity, price_cents";
        let (quantity, price_cents) = columns(&draft);
        let client = self.0.get().await?;
        let row = client
            .query_one(sql, &[&draft.name, &quantity, &price_cents])
            .await?;
        Ok(item(&row))
    }

    /// Replaces the item with this id. Returns `None` if there is no such item.
    pub(crate) async fn replace(&self, id: u64, draft: Draft) -> Result<Option<Item>, Error> {
        let sql = "UPDATE items SET name = $2, quantity = $3, price_cents = $4 WHERE id = $1 \
                   RETURNING id, name, quantity, price_cents";
        let Ok(id) = i64::try_from(id) else {
            return Ok(None);
        };
        let (quantity, price_cents) = columns(&draft);
        let client = self.0.get().await?;
        let row = client
            .query_opt(sql, &[&id, &draft.name, &quantity, &price_cents])
            .await?;
        Ok(row.as_ref().map(item))
    }

    /// Removes the item with this id. Returns `false` if there was no such item.
    pub(crate) async fn remove(&self, id: u64) -> Result<bool, Error> {
        let Ok(id) = i64::try_from(id) else {
            return Ok(false);
        };
        let client = self.0.get().await?;
        let count = client
            .execute("DELETE FROM items WHERE id = $1", &[&id])
            .await?;
        Ok(count > 0)
    }
}

/// The quantity and the price as columns. PostgreSQL has no unsigned types, so the columns are wider signed ones.
fn columns(draft: &Draft) -> (i64, Option<i64>) {
    let price_cents = draft
        .price_cents
        .map(|cents| i64::try_from(cents).expect("a draft's price is at most 2^53 - 1"));
    (draft.quantity.into(), price_cents)
}

/// The item in a row of `id, name, quantity, price_cents`.
fn item(row: &Row) -> Item {
    let whole = |number: i64| u64::try_from(number).expect("the table has no negative numbers");
    Item {
        id: whole(row.get(0)),
        draft: Draft {
            name: row.get(1),
            quantity: u32::try_from(row.get::<_, i64>(2))
                .expect("the table's check keeps a quantity within a u32"),
            price_cents: row.get::<_, Option<i64>>(3).map(whole),
        },
    }
}
