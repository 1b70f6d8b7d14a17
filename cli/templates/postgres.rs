//! A JSON API for notes in PostgreSQL. One worker handles many requests at once and keeps its connections open.

use hearth_sdk::postgres::{Error, Postgres};
use hearth_sdk::{Problem, Request, Response, serve_async};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Note {
    text: String,
}

fn main() {
    serve_async(start, handle)
}

/// Connects to the database and creates the table. If this fails, the worker does not start and the error is
/// reported.
async fn start() -> Result<Postgres, Box<dyn std::error::Error>> {
    let database = Postgres::new()?;
    let client = database.get().await?;
    let table = "CREATE TABLE IF NOT EXISTS notes (id BIGSERIAL PRIMARY KEY, text TEXT NOT NULL)";
    client.batch_execute(table).await?;
    Ok(database)
}

async fn handle(database: Postgres, request: Request) -> Result<Response, Problem> {
    match (request.method.as_str(), request.param("id")) {
        ("POST", None) => {
            let note: Note = request.json_async().await?;
            Ok(add(&database, &note).await?)
        }
        ("GET", Some(id)) => match id.parse() {
            Ok(id) => Ok(get(&database, id).await?),
            Err(_) => Err(Problem::new(404, "No such note")),
        },
        _ => Err(Problem::new(405, "Method not allowed")),
    }
}

async fn add(database: &Postgres, note: &Note) -> Result<Response, Error> {
    let client = database.get().await?;
    let sql = "INSERT INTO notes (text) VALUES ($1) RETURNING id";
    let row = client.query_one(sql, &[&note.text]).await?;
    let place = format!("/notes/{}", row.get::<_, i64>(0));
    Ok(Response::new(201).header("location", place))
}

async fn get(database: &Postgres, id: i64) -> Result<Response, Error> {
    let client = database.get().await?;
    let sql = "SELECT text FROM notes WHERE id = $1";
    Ok(match client.query_opt(sql, &[&id]).await? {
        Some(row) => Response::json(&Note { text: row.get(0) }),
        None => Problem::new(404, "No such note").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::{AsyncClient, Platform};

    #[test]
    fn without_a_server_it_says_so_and_a_bad_note_is_told_before() {
        let nobody = "postgres://nobody@127.0.0.1:1/nothing";
        Platform::new().with_resource("postgres", nobody).install();
        let start = async || Postgres::new().expect("it is an address");
        let client = AsyncClient::new(start, handle).with_route("/notes/{id}");
        assert_eq!(client.post("/notes", "{}").status(), 400);
        assert_eq!(client.get("/notes/x").status(), 404);
        assert_eq!(client.get("/notes/1").status(), 503);
    }
}
