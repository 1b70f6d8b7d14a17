//! Counts visits in Redis. All workers share the count, and it outlives them.

use hearth_sdk::redis::{Error, Redis, redis};
use hearth_sdk::{Request, Response, serve_async};

fn main() {
    serve_async(async || Redis::new(), handle)
}

async fn handle(counts: Redis, request: Request) -> Result<Response, Error> {
    let page = request.param("page").unwrap_or("home");
    let key = format!("visits:{page}");
    let count: u64 = counts.run(redis::cmd("INCR").arg(key)).await?;
    Ok(Response::text(format!("visit {count} of {page}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::test::{AsyncClient, Platform};

    #[test]
    fn without_a_server_it_says_so() {
        let nobody = "redis://127.0.0.1:1";
        Platform::new().with_resource("redis", nobody).install();
        let start = async || Redis::new().expect("it is an address");
        let client = AsyncClient::new(start, handle);
        assert_eq!(client.get("/").status(), 503);
    }
}
