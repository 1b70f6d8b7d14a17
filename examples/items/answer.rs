//! The responses about items, for every kind of store. Does not access the store and reads no request bodies.

use hearth_sdk::{Problem, Request, Response};
use serde::Serialize;

use crate::item::Item;
use crate::page::{Page, number};

/// A page of the list.
#[derive(Serialize)]
struct List {
    items: Vec<Item>,
    /// The `after` of the next page. `None` on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<u64>,
}

/// The response with a page of the list. The caller requests one item more than fits on the page, which shows whether
/// there is a next page.
pub(crate) fn list(page: Page, mut items: Vec<Item>) -> Response {
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next_after = items.last().map(|item| item.id).filter(|_| more);
    Response::json(&List { items, next_after })
}

/// The response with a new item and its location.
pub(crate) fn created(item: &Item) -> Response {
    Response::json(item)
        .status(201)
        .header("location", format!("/items/{}", item.id))
}

/// The id in the path.
///
/// # Errors
/// A 400 if it is not a number.
pub(crate) fn id(req: &Request) -> Result<u64, Problem> {
    number("id", req.param("id").unwrap_or_default())
}

/// The response for an item that does not exist.
pub(crate) fn unknown(id: u64) -> Problem {
    Problem::new(404, "No such item").detail(format!("there is no item {id}"))
}
