//! What a client is told about items, wherever these are kept. Knows no storage and reads no body.

use hearth_sdk::{Problem, Request, Response};
use serde::Serialize;

use crate::item::Item;
use crate::page::{Page, number};

/// A page of the list.
#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    /// The `after` of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<u64>,
}

/// A page of the list, of which the store was asked for one item more than fits: that tells whether
/// there is a next page.
pub(crate) fn list(page: Page, mut items: Vec<Item>) -> Response {
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next_after = items.last().map(|item| item.id).filter(|_| more);
    Response::json(&List { items, next_after })
}

/// A new item, and where it is.
pub(crate) fn created(item: &Item) -> Response {
    Response::json(item)
        .status(201)
        .header("location", format!("/items/{}", item.id))
}

/// The item that a path names.
///
/// # Errors
/// A 400 if it names none.
pub(crate) fn id(req: &Request) -> Result<u64, Problem> {
    number("id", req.param("id").unwrap_or_default())
}

/// There is no such item.
pub(crate) fn unknown(id: u64) -> Problem {
    Problem::new(404, "No such item").detail(format!("there is no item {id}"))
}
