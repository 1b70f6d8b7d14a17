//! The smallest function: responds with a greeting as JSON.

use hearth_sdk::{Request, Response, serve};

#[derive(serde::Serialize)]
struct Greeting<'a> {
    message: &'a str,
}

fn handle(_state: &mut (), _req: Request) -> Response {
    Response::json(&Greeting {
        message: "hello from a warm process",
    })
}

fn main() {
    serve(|| (), handle);
}
