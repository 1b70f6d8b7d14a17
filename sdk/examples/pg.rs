//! A function for the tests that uses a PostgreSQL server.

use std::time::Duration;

use hearth_sdk::postgres::{Error, Postgres};
use hearth_sdk::{Problem, Request, Response, serve_async};

fn main() {
    serve_async(start, handle);
}

async fn start() -> Result<Postgres, Box<dyn std::error::Error>> {
    let database = Postgres::named("orders_db")?;
    if hearth_sdk::env("MIGRATE") == Some("yes") {
        let client = database.get().await?;
        let table = "CREATE TABLE IF NOT EXISTS items (id BIGINT PRIMARY KEY, name TEXT NOT NULL)";
        client.batch_execute(table).await?;
        let kettle = "INSERT INTO items VALUES (1, 'kettle') ON CONFLICT DO NOTHING";
        client.execute(kettle, &[]).await?;
    }
    Ok(database)
}

async fn handle(database: Postgres, request: Request) -> Result<Response, Problem> {
    match request.path.as_str() {
        "/worker" => Ok(Response::text(hearth_sdk::worker().to_string())),
        // Holds two connections at the same time; the other paths hold one.
        "/two" => {
            let _first = database.get().await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _second = database.get().await?;
            Ok(Response::ok())
        }
        path => Ok(query(&database, path, request.query.parse().unwrap_or(1)).await?),
    }
}

async fn query(database: &Postgres, path: &str, number: i64) -> Result<Response, Error> {
    let client = database.get().await?;
    let row = match path {
        "/item" => {
            let sql = "SELECT name FROM items WHERE id = $1";
            client.query_opt(sql, &[&number]).await?
        }
        "/sleep" => {
            let sql = "SELECT 'slept' FROM pg_sleep($1::BIGINT / 1000.0)";
            client.query_opt(sql, &[&number]).await?
        }
        "/missing" => client.query_opt("SELECT * FROM no_such_table", &[]).await?,
        _ => None,
    };
    Ok(match row {
        Some(row) => Response::text(row.get::<_, String>(0)),
        None => Response::not_found(),
    })
}
