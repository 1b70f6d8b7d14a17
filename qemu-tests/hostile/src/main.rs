//! A worker that does on request what no worker may do, for the attack tests. Started with `act` and a JSON object,
//! it does the same outside of any sandbox and prints the result, as a control.
//!
//! The response to `POST /` with `{ "act": NAME, ... }` is `{ "done": TEXT }` if the attack was possible, and
//! `{ "failed": ERRNO }` if it was not.

mod calls;
mod files;
mod network;
mod processes;
mod wire;

use std::io;

use hearth_sdk::{Problem, Request, Response};
use serde_json::{Value, json};

/// The arguments of an attack: the members of the JSON object.
struct Order(Value);

impl Order {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }
}

/// The result of an attack: a short description of what was possible.
type Done = io::Result<String>;

/// An attack and its name.
type Act = (&'static str, fn(&Order) -> Done);

fn main() {
    let mut args = std::env::args().skip(1);
    if let (Some("act"), Some(order)) = (args.next().as_deref(), args.next()) {
        let order = serde_json::from_str(&order).unwrap_or_default();
        println!("{}", act(Order(order)));
        return;
    }
    hearth_sdk::serve(|| (), handle)
}

fn handle((): &mut (), req: Request) -> Result<Response, Problem> {
    Ok(Response::json(&act(Order(req.json()?))))
}

fn act(order: Order) -> Value {
    let lists = [
        files::ACTS,
        network::ACTS,
        processes::ACTS,
        calls::ACTS,
        wire::ACTS,
    ];
    let mut acts = lists.iter().flat_map(|list| list.iter());
    let Some((_, act)) = acts.find(|(name, _)| *name == order.text("act")) else {
        return json!({ "unknown": order.0 });
    };
    match act(&order) {
        Ok(text) => json!({ "done": text }),
        Err(error) => {
            let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
            json!({ "failed": errno.map_or_else(|| error.to_string(), |errno| format!("{errno:?}")) })
        }
    }
}
