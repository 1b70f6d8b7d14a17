//! Creates the schema in steps, which each database performs once and in order. Independent of the data.

use std::error::Error;

use hearth_sdk::log;
use hearth_sdk::postgres::Postgres;

/// Numbered from 1 in this order. Never change a migration that a database may already have applied; add another one
/// instead.
const MIGRATIONS: &[(&str, &str)] = &[
    ("items", include_str!("../migrations/1_items.sql")),
    ("starters", include_str!("../migrations/2_starters.sql")),
    ("news", include_str!("../migrations/3_news.sql")),
];

/// The advisory lock that all workers of this function use: `items` in ASCII.
const LOCK: i64 = 0x69_74_65_6D_73;

/// The table of the applied migrations.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS items_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

/// Applies all missing migrations in one transaction. If several workers start at the same time, the others wait for
/// the first one and then find nothing to do.
///
/// # Errors
/// The server cannot be reached, or it rejects a migration, which the last line in the log names.
pub(crate) async fn migrate(database: &Postgres) -> Result<(), Box<dyn Error>> {
    let mut client = database.get().await?;
    let work = client.raw().transaction().await?;
    // PostgreSQL holds the lock until the transaction ends, however it ends.
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
