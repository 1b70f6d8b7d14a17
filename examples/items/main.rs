//! A stock of items with a JSON interface: list, read, create, replace, delete.
//!
//! This file contains the routes; `answer` makes the responses, `item` validates items, `page` parses the requested
//! part of the list, and `store` stores the items. `items_postgres` is the same function with PostgreSQL; it shares
//! everything except this file and the store.

mod answer;
mod item;
mod page;
mod store;

use hearth_sdk::{Problem, Request, Response, resource, serve};

use crate::answer::{id, unknown};
use crate::item::{Draft, Fields};
use crate::page::Page;
use crate::store::Store;

fn main() {
    serve(start, |store, req| handle(store.as_mut(), &req));
}

/// Runs once, when the worker starts. The store that it returns lives until the worker ends.
#[expect(
    clippy::print_stderr,
    reason = "the platform takes a worker's stderr into its log"
)]
fn start() -> Box<dyn Store> {
    let (store, notice) = store::open(resource("postgres"));
    eprintln!("items: {notice}");
    store
}

/// The manifest decides which of these requests arrive. `req.route` is the pattern of the manifest, so this function
/// parses no paths. HEAD gets the same response as GET: the gateway drops the body.
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

fn list(store: &dyn Store, req: &Request) -> Result<Response, Problem> {
    let page = Page::from_query(&req.query)?;
    Ok(answer::list(page, store.list(page.after, page.limit + 1)))
}

fn create(store: &mut dyn Store, req: &Request) -> Result<Response, Problem> {
    let item = store
        .insert(draft(req)?)
        .map_err(|full| Problem::new(507, "No room").detail(full.to_string()))?;
    Ok(answer::created(&item))
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

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::IntoResponse;

    /// Makes a request with the route and parameters that the manifest gives it.
    fn request(method: &str, path_and_query: &str, body: &str) -> Request {
        let req = Request::new(method, path_and_query, body);
        match req.path.strip_prefix("/items/").map(str::to_owned) {
            Some(id) => req.with_route("/items/{id}").with_param("id", &id),
            None => req,
        }
    }

    /// Sends requests to a new store, each a line `METHOD path body`. Compares the responses, each a line `status
    /// location body` without the parts that are missing.
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

    /// The response to a POST with this body, which must not create an item.
    fn refused(body: &[u8], content_type: &str) -> String {
        let (mut store, _) = store::open(None);
        let req = Request::new("POST", "/items", body).with_header("content-type", content_type);
        let answer = handle(store.as_mut(), &req).into_response();
        assert_eq!(store.list(0, 10).len(), 3, "an item was made of it");
        let body = std::str::from_utf8(answer.bytes().unwrap()).unwrap();
        format!("{} {body}", answer.status_code())
    }

    #[test]
    fn hostile_bodies_are_refused_with_what_is_wrong_about_them() {
        let json = "application/json";
        let check = |body: &[u8], expect: &str| assert_eq!(refused(body, json), expect);
        check(
            br#"{"name":"poker","quantity""#,
            r#"400 {"column":26,"detail":"EOF while parsing an object at line 1 column 26","line":1,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            "[".repeat(100_000).as_bytes(),
            r#"400 {"column":1,"detail":"[0]: invalid type: sequence, expected a string at line 1 column 1","field":"[0]","line":1,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            format!(r#"{{"name":{}"#, "[".repeat(100_000)).as_bytes(),
            r#"400 {"column":8,"detail":"name: invalid type: sequence, expected a string at line 1 column 8","field":"name","line":1,"status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            b"{\"name\":\"p\xFFker\",\"quantity\":1}",
            r#"400 {"detail":"not UTF-8: invalid utf-8 sequence of 1 bytes from index 10","status":400,"title":"The body is not the JSON expected here"}"#,
        );
        check(
            br#"{"name":"pok\u0000er","quantity":1}"#,
            r#"422 {"detail":"name: expected no character U+0000","field":"name","status":422,"title":"A field does not hold what it may"}"#,
        );
        assert_eq!(
            refused(br#"{"name":"poker","quantity":1}"#, "text/plain"),
            r#"415 {"detail":"content-type: `text/plain`, expected `application/json`","field":"content-type","status":415,"title":"The body is not of a kind expected here"}"#,
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
