//! The same stock of items as `items`, stored in PostgreSQL, cached in Redis, with views counted in memcached.
//!
//! This file contains the routes and the order in which the servers are used; `store` uses PostgreSQL, `cache` uses the
//! two other servers, and `migration` creates the schema. The validation of items and the responses are those of
//! `items`.

#[path = "../../items/answer.rs"]
mod answer;
mod cache;
#[path = "../../items/item.rs"]
mod item;
mod migration;
#[path = "../../items/page.rs"]
mod page;
mod spare;
mod store;

use std::error::Error;

use hearth_sdk::postgres::Postgres;
use hearth_sdk::{Problem, Request, Response, serve_async};

use crate::answer::{id, unknown};
use crate::cache::{Cache, Views};
use crate::item::{Draft, Fields};
use crate::page::Page;
use crate::store::Store;

fn main() {
    serve_async(start, handle);
}

/// The state of which every handler gets a clone.
#[derive(Clone)]
struct Shop {
    store: Store,
    cache: Cache,
    views: Views,
}

/// Runs once, when the worker starts. The start fails if PostgreSQL cannot be reached; the other two servers may be
/// unavailable.
async fn start() -> Result<Shop, Box<dyn Error>> {
    let database = Postgres::new()?;
    migration::migrate(&database).await?;
    Ok(Shop {
        store: Store::new(database),
        cache: Cache::new()?,
        views: Views::new()?,
    })
}

async fn handle(shop: Shop, req: Request) -> Result<Response, Problem> {
    match (req.method.as_str(), req.route.as_str()) {
        ("GET" | "HEAD", "/items") => list(&shop, &req).await,
        ("POST", "/items") => create(&shop, &req).await,
        ("GET" | "HEAD", "/items/{id}") => read(&shop, &req).await,
        ("PUT", "/items/{id}") => replace(&shop, &req).await,
        ("DELETE", "/items/{id}") => delete(&shop, &req).await,
        _ => Ok(Response::not_found()),
    }
}

async fn list(shop: &Shop, req: &Request) -> Result<Response, Problem> {
    let page = Page::from_query(&req.query)?;
    let items = shop.store.list(page.after, page.limit + 1).await?;
    Ok(answer::list(page, items))
}

async fn create(shop: &Shop, req: &Request) -> Result<Response, Problem> {
    let item = shop.store.insert(draft(req).await?).await?;
    Ok(answer::created(&item))
}

/// Reads the item from Redis, or else from PostgreSQL, and then stores it in Redis for later requests.
async fn read(shop: &Shop, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    let json = match shop.cache.find(id).await {
        Some(json) => json,
        None => {
            let item = shop.store.find(id).await?.ok_or_else(|| unknown(id))?;
            let json = serde_json::to_vec(&item).expect("text and numbers always print");
            shop.cache.keep(id, &json).await;
            json
        }
    };
    let answer = Response::ok()
        .header("content-type", "application/json")
        .body(json);
    Ok(match shop.views.count(id).await {
        Some(views) => answer.header("x-views", views.to_string()),
        None => answer,
    })
}

async fn replace(shop: &Shop, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    let replaced = shop.store.replace(id, draft(req).await?).await?;
    let item = replaced.ok_or_else(|| unknown(id))?;
    shop.cache.forget(id).await;
    Ok(Response::json(&item))
}

async fn delete(shop: &Shop, req: &Request) -> Result<Response, Problem> {
    let id = id(req)?;
    if !shop.store.remove(id).await? {
        return Err(unknown(id));
    }
    shop.cache.forget(id).await;
    Ok(Response::no_content())
}

async fn draft(req: &Request) -> Result<Draft, Problem> {
    req.json_async::<Fields>().await?.validate()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::{AsyncClient, Platform};

    /// The platform of all tests in this program. None of its servers exists.
    pub(crate) fn install() {
        Platform::new()
            .with_resource("postgres", "postgres://nobody@127.0.0.1:1/nothing")
            .with_resource("redis", "redis://127.0.0.1:1")
            .with_resource("memcache", "memcache://127.0.0.1:1")
            .install();
    }

    #[test]
    fn without_servers_it_says_so_and_what_is_wrong_by_itself_is_told_before() {
        install();
        let start = async || Shop {
            store: Store::new(Postgres::new().expect("it is an address")),
            cache: Cache::new().expect("it is an address"),
            views: Views::new().expect("it is an address"),
        };
        let client = AsyncClient::new(start, handle)
            .with_route("/items")
            .with_route("/items/{id}");
        assert_eq!(client.post("/items", "[").status(), 400);
        assert_eq!(
            client
                .post("/items", r#"{"name":"","quantity":1}"#)
                .status(),
            422
        );
        assert_eq!(client.get("/items?limit=0").status(), 400);
        assert_eq!(client.get("/items/x").status(), 400);
        assert_eq!(client.get(&format!("/items/{}", u64::MAX)).status(), 404);
        let answer = client.get("/items/1");
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains("`postgres`"), "{}", answer.text());
    }
}
