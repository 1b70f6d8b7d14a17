//! A function for the benchmark that responds with a row of a PostgreSQL table. It uses a persistent connection, or for
//! comparison a new connection for each request (paths below `/apart/`).

use hearth_sdk::postgres::tokio_postgres::{NoTls, Row, connect};
use hearth_sdk::postgres::{Error, Postgres};
use hearth_sdk::{Problem, Request, ResourceError, Response, serve_async};
use serde_json::json;

const SQL: &str = "SELECT name FROM items WHERE id = $1";

fn main() {
    serve_async(start, handle);
}

async fn start() -> Result<Postgres, ResourceError> {
    Postgres::new()
}

async fn handle(database: Postgres, request: Request) -> Result<Response, Problem> {
    let id = request.param("id").and_then(|id| id.parse::<i64>().ok());
    let Some(id) = id else {
        return Ok(Response::not_found());
    };
    let row = match request.path.starts_with("/apart/") {
        false => kept(&database, id).await?,
        true => apart(id).await?,
    };
    Ok(match row {
        Some(row) => Response::json(&json!({ "id": id, "name": row.get::<_, &str>(0) })),
        None => Response::not_found(),
    })
}

async fn kept(database: &Postgres, id: i64) -> Result<Option<Row>, Error> {
    let client = database.get().await?;
    client.query_opt(SQL, &[&id]).await
}

async fn apart(id: i64) -> Result<Option<Row>, Problem> {
    let failed = |error| Problem::new(503, format!("{error}"));
    let address = hearth_sdk::resource("postgres").and_then(|address| address.as_str());
    let (client, connection) = connect(address.unwrap_or_default(), NoTls)
        .await
        .map_err(failed)?;
    // The task ends when `client` is dropped.
    tokio::task::spawn_local(connection);
    client.query_opt(SQL, &[&id]).await.map_err(failed)
}
