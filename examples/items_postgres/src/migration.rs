//! The schema, as steps that each database takes once and in order. Knows nothing of what is kept in it.

use std::error::Error;

use hearth_sdk::log;
use hearth_sdk::postgres::Postgres;

/// Numbered from 1 by their order. One that a database may have taken is never changed: what it lacks
/// is another one's to do.
const MIGRATIONS: &[(&str, &str)] = &[
    ("items", include_str!("../migrations/1_items.sql")),
    ("starters", include_str!("../migrations/2_starters.sql")),
    ("news", include_str!("../migrations/3_news.sql")),
];

/// What all workers of this function agree to lock: `items` in ASCII.
const LOCK: i64 = 0x69_74_65_6D_73;

/// What has been done.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS items_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

/// Does what is still to be done, all of it or nothing: one transaction. Workers that start at the same
/// time wait for the first of them, and then find nothing to do.
///
/// # Errors
/// There is no server, or it refuses a step. The last line in the log names the step.
pub(crate) async fn migrate(database: &Postgres) -> Result<(), Box<dyn Error>> {
    let mut client = database.get().await?;
    let work = client.raw().transaction().await?;
    // Held until the transaction ends, however it ends.
    work.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    work.batch_execute(TABLE).await?;
    let last = "SELECT coalesce(max(number), 0) FROM items_migrations";
    let last: i32 = work.query_one(last, &[]).await?.get(0);
    let missing = (1..).zip(MIGRATIONS).filter(|(number, _)| *number > last);
    for (number, (name, sql)) in missing {
        log::info(format_args!("migration {number}: {name}"));
        work.batch_execute(sql).await?;
        let done = "INSERT INTO items_migrations (number, name) VALUES ($1, $2)";
        work.execute(done, &[&number, name]).await?;
    }
    work.commit().await?;
    Ok(())
}
