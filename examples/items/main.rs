//! A stock of items over JSON: list, read, create, replace, delete.
//!
//! Owns the routes and their answers; what an item may be is in `item`, what part of the list is asked
//! for in `page`, where items are kept in `store`.

mod item;
mod page;
mod store;

use hearth_sdk::{Problem, Request, Response, resource, serve};
use serde::Serialize;

use crate::item::{Draft, Fields, Item};
use crate::page::{Page, number};
use crate::store::Store;

fn main() {
    serve(start, |store, req| handle(store.as_mut(), &req));
}

/// Runs once in the worker's life; what it returns stays warm.
#[expect(
    clippy::print_stderr,
    reason = "the platform takes a worker's stderr into its log"
)]
fn start() -> Box<dyn Store> {
    let (store, notice) = store::open(resource("postgres"));
    eprintln!("items: {notice}");
    store
}

/// Which of these arrive is the manifest's to say. `req.route` is its pattern, so no path is taken apart
/// here. HEAD comes as itself, and is answered as GET: the gateway drops the body.
fn handle(store: &mut dyn Store, req: &Request) -> Result<Response, Problem> {
    match (req.method.as_str(), req.route.as_str()) {
        ("GET" | "HEAD", "/items") => list(store, req),
        ("POST", "/items") => create(store, req),
        ("GET" | "HEAD", "/items/{id}") => read(store, req),
        ("PUT", "/items/{id}") => replace(store, req),
        ("DELETE", "/items/{id}") => delete(store, req),
        _ => Ok(Response::not_found()),
    }
}

/// A page of the list.
#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    /// The `after` of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<u64>,
}

fn list(store: &dyn Store, req: &Request) -> Result<Response, Problem> {
    let page = Page::from_query(&req.query)?;
    // One more than asked for tells whether there is a next page.
    let mut items = store.list(page.after, page.limit + 1);
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next_after = items.last().map(|item| item.id).filter(|_| more);
    Ok(Response::json(&List { items, next_after }))
}

fn create(store: &mut dyn Store, req: &Request) -> Result<Response, Problem> {
    let item = store
        .insert(draft(req)?)
        .map_err(|full| Problem::new(507, "No room").detail(full.to_string()))?;
    Ok(Response::json(&item)
        .status(201)
        .header("location", format!("/items/{}", item.id)))
}

fn read(store: &dyn Store, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    let item = store.find(id).ok_or_else(|| unknown(id))?;
    Ok(Response::json(&item))
}

fn replace(store: &mut dyn Store, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    let item = store.replace(id, draft(req)?).ok_or_else(|| unknown(id))?;
    Ok(Response::json(&item))
}

fn delete(store: &mut dyn Store, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    if store.remove(id) {
        Ok(Response::no_content())
    } else {
        Err(unknown(id))
    }
}

fn draft(req: &Request) -> Result<Draft, Problem> {
    req.json::<Fields>()?.validate()
}

fn id(req: &Request) -> Result<u64, Problem> {
    number("id", req.param("id").unwrap_or_default())
}

fn unknown(id: u64) -> Problem {
    Problem::new(404, "No such item").detail(format!("there is no item {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::IntoResponse;

    /// Puts a request on its route, as the manifest has it.
    fn request(method: &str, path_and_query: &str, body: &str) -> Request {
        let req = Request::new(method, path_and_query, body);
        match req.path.strip_prefix("/items/").map(str::to_owned) {
            Some(id) => req.with_route("/items/{id}").with_param("id", &id),
            None => req,
        }
    }

    /// Sends requests, each a line `METHOD path body`, to a fresh store; compares what comes back, each
    /// a line `status location body` without what is not there.
    fn check(requests: &str, expect: &str) {
        let (mut store, _) = store::open(None);
        let lines: Vec<String> = requests
            .trim()
            .lines()
            .map(|line| {
                let mut words = line.trim().splitn(3, ' ');
                let mut word = || words.next().unwrap_or_default();
                let req = request(word(), word(), word());
                let answer = handle(store.as_mut(), &req).into_response();
                let mut line = answer.status_code().to_string();
                let location = answer.headers().find(|(name, _)| *name == "location");
                let location = location.map(|(_, value)| value).unwrap_or_default();
                let body = std::str::from_utf8(answer.bytes().unwrap()).unwrap();
                for part in [location, body] {
                    if !part.is_empty() {
                        line = format!("{line} {part}");
                    }
                }
                line
            })
            .collect();
        let expect: Vec<&str> = expect.trim().lines().map(str::trim).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn the_list_comes_in_pages() {
        check(
            "GET /items
             GET /items?limit=2
             GET /items?limit=2&after=2
             GET /items?limit=3
             GET /items?after=3",
            r#"200 {"items":[{"id":1,"name":"cast iron kettle","quantity":3,"price_cents":4900},{"id":2,"name":"bellows","quantity":1,"price_cents":2450},{"id":3,"name":"birch log","quantity":120}]}
               200 {"items":[{"id":1,"name":"cast iron kettle","quantity":3,"price_cents":4900},{"id":2,"name":"bellows","quantity":1,"price_cents":2450}],"next_after":2}
               200 {"items":[{"id":3,"name":"birch log","quantity":120}]}
               200 {"items":[{"id":1,"name":"cast iron kettle","quantity":3,"price_cents":4900},{"id":2,"name":"bellows","quantity":1,"price_cents":2450},{"id":3,"name":"birch log","quantity":120}]}
               200 {"items":[]}"#,
        );
    }

    #[test]
    fn an_item_lives_from_post_to_delete() {
        check(
            r#"POST /items {"name":" poker ","quantity":2}
               GET /items/4
               HEAD /items/4
               PUT /items/4 {"name":"poker","quantity":1,"price_cents":900}
               GET /items/4
               DELETE /items/4
               GET /items/4
               POST /items {"name":"tongs","quantity":1}"#,
            r#"201 /items/4 {"id":4,"name":"poker","quantity":2}
               200 {"id":4,"name":"poker","quantity":2}
               200 {"id":4,"name":"poker","quantity":2}
               200 {"id":4,"name":"poker","quantity":1,"price_cents":900}
               200 {"id":4,"name":"poker","quantity":1,"price_cents":900}
               204
               404 {"detail":"there is no item 4","status":404,"title":"No such item"}
               201 /items/5 {"id":5,"name":"tongs","quantity":1}"#,
        );
    }

    #[test]
    fn unknown_items_and_bad_parameters_are_told_apart() {
        check(
            r#"DELETE /items/9
               PUT /items/9 {"name":"poker","quantity":1}
               GET /items/kettle
               DELETE /items/-1
               GET /items?limit=0
               PATCH /items/1 {}"#,
            r#"404 {"detail":"there is no item 9","status":404,"title":"No such item"}
               404 {"detail":"there is no item 9","status":404,"title":"No such item"}
               400 {"detail":"id: expected a whole number","field":"id","status":400,"title":"A parameter does not fit"}
               400 {"detail":"id: expected a whole number","field":"id","status":400,"title":"A parameter does not fit"}
               400 {"detail":"limit: expected 1 to 200","field":"limit","status":400,"title":"A parameter does not fit"}
               404 {"status":404,"title":"Not found"}"#,
        );
    }

    #[test]
    fn a_bad_body_is_named_by_field_and_changes_nothing() {
        check(
            r#"POST /items {"name":"","quantity":1}
               POST /items {"name":"poker","quantity":-1}
               POST /items {"name":"poker","quantity":1,"colour":"red"}
               PUT /items/1 {"quantity":1}
               PUT /items/1 {"name":" ","quantity":1}
               GET /items/1
               GET /items/4"#,
            r#"422 {"detail":"name: expected 1 to 200 characters","field":"name","status":422,"title":"A field does not hold what it may"}
               400 {"column":29,"detail":"quantity: invalid value: integer `-1`, expected u32 at line 1 column 29","field":"quantity","line":1,"status":400,"title":"The body is not the JSON expected here"}
               400 {"column":37,"detail":"colour: unknown field `colour`, expected one of `name`, `quantity`, `price_cents` at line 1 column 37","field":"colour","line":1,"status":400,"title":"The body is not the JSON expected here"}
               400 {"column":14,"detail":"missing field `name` at line 1 column 14","line":1,"status":400,"title":"The body is not the JSON expected here"}
               422 {"detail":"name: expected 1 to 200 characters","field":"name","status":422,"title":"A field does not hold what it may"}
               200 {"id":1,"name":"cast iron kettle","quantity":3,"price_cents":4900}
               404 {"detail":"there is no item 4","status":404,"title":"No such item"}"#,
        );
    }

    #[test]
    fn a_full_store_is_507() {
        let (mut store, _) = store::open(None);
        let answer = loop {
            let req = request("POST", "/items", r#"{"name":"log","quantity":1}"#);
            let answer = handle(store.as_mut(), &req).into_response();
            if answer.status_code() != 201 {
                break answer;
            }
        };
        assert_eq!(answer.status_code(), 507);
    }
}
