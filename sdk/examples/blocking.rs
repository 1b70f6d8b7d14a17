//! A function for the tests whose handlers block. It uses a PostgreSQL server.

use hearth_sdk::postgres::{Error, Postgres};
use hearth_sdk::{Function, Request, ResourceError, Response, block_on};

fn main() {
    Function::new(start).serve(|database, request| handle(database, &request));
}

fn start() -> Result<Postgres, ResourceError> {
    Postgres::named("orders_db")
}

fn handle(database: &mut Postgres, _request: &Request) -> Result<Response, Error> {
    block_on(async {
        let client = database.get().await?;
        let sql = "SELECT pg_backend_pid()::TEXT";
        let row = client.query_one(sql, &[]).await?;
        Ok(Response::text(row.get::<_, String>(0)))
    })
}
