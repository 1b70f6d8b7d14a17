//! Greets the caller by name, and counts the greetings.

use hearth_sdk::{Request, Response, serve};

fn main() {
    serve(|| 0, handle)
}

fn handle(greeted: &mut u64, request: Request) -> Response {
    *greeted += 1;
    let name = request.param("name").unwrap_or("world");
    Response::text(format!("hello, {name}: greeting number {greeted}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::Client;

    #[test]
    fn it_greets_by_name_and_counts() {
        let mut client = Client::new(0, handle).with_route("/hello/{name}");
        assert_eq!(client.get("/").text(), "hello, world: greeting number 1\n");
        assert_eq!(client.get("/hello/ada").text(), "hello, ada: greeting number 2\n");
    }
}
