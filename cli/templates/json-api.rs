//! A JSON API for notes in memory. The notes are lost when the worker ends.

use std::collections::BTreeMap;

use hearth_sdk::{Problem, Request, Response, serve};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Note {
    text: String,
}

#[derive(Default)]
struct Notes {
    kept: BTreeMap<u64, Note>,
    last: u64,
}

fn main() {
    serve(Notes::default, handle)
}

fn handle(notes: &mut Notes, request: Request) -> Result<Response, Problem> {
    match (request.method.as_str(), request.param("id")) {
        ("POST", None) => {
            let note: Note = request.json()?;
            notes.last += 1;
            notes.kept.insert(notes.last, note);
            let place = format!("/notes/{}", notes.last);
            Ok(Response::new(201).header("location", place))
        }
        ("GET", None) => Ok(Response::json(&notes.kept)),
        ("GET", Some(id)) => Ok(Response::json(&notes.kept[&known(notes, id)?])),
        ("DELETE", Some(id)) => {
            let id = known(notes, id)?;
            notes.kept.remove(&id);
            Ok(Response::no_content())
        }
        _ => Err(Problem::new(405, "Method not allowed")),
    }
}

fn known(notes: &Notes, id: &str) -> Result<u64, Problem> {
    let found = id.parse().ok().filter(|id| notes.kept.contains_key(id));
    found.ok_or_else(|| Problem::new(404, "No such note"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::Client;

    #[test]
    fn a_note_is_kept_read_and_deleted() {
        let mut client = Client::new(Notes::default(), handle).with_route("/notes/{id}");
        assert_eq!(client.post("/notes", r#"{"txt":"x"}"#).status(), 400);
        let made = client.post("/notes", r#"{"text":"remember"}"#);
        assert_eq!((made.status(), made.header("location")), (201, Some("/notes/1")));
        assert_eq!(client.get("/notes/1").json::<Note>().text, "remember");
        let gone = client.send(Request::new("DELETE", "/notes/1", ""));
        assert_eq!(gone.status(), 204);
        assert_eq!(client.get("/notes/1").status(), 404);
    }
}
