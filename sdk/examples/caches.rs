//! A function for the tests that uses Redis and memcached. Each path runs a command on one of them.

use std::time::Duration;

use hearth_sdk::memcache::{self, Memcache};
use hearth_sdk::redis::{self, Redis, redis as commands};
use hearth_sdk::{Request, Response, serve_async};

#[derive(Clone)]
struct Caches {
    redis: Redis,
    memcache: Memcache,
}

fn main() {
    serve_async(start, |caches, request| async move {
        match request.path.starts_with("/redis/") {
            true => ask_redis(&caches.redis, &request)
                .await
                .map_err(Failed::Redis),
            false => ask_memcache(&caches.memcache, &request)
                .await
                .map_err(Failed::Memcache),
        }
    });
}

enum Failed {
    Redis(redis::Error),
    Memcache(memcache::Error),
}

impl hearth_sdk::IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Failed::Redis(error) => error.into_response(),
            Failed::Memcache(error) => error.into_response(),
        }
    }
}

async fn start() -> Result<Caches, hearth_sdk::ResourceError> {
    Ok(Caches {
        redis: Redis::named("sessions")?,
        memcache: Memcache::new()?,
    })
}

async fn ask_redis(redis: &Redis, request: &Request) -> Result<Response, redis::Error> {
    let key = request.query.as_str();
    Ok(match request.path.as_str() {
        "/redis/count" => {
            let count: u64 = redis.run(commands::cmd("INCR").arg(key)).await?;
            Response::text(count.to_string())
        }
        "/redis/wrong" => {
            let answer: String = redis.run(commands::cmd("LPOP").arg(key).arg("x")).await?;
            Response::text(answer)
        }
        "/redis/sleep" => {
            let mut sleep = commands::cmd("BLPOP");
            redis.run::<()>(sleep.arg("nothing").arg(key)).await?;
            Response::ok()
        }
        _ => Response::not_found(),
    })
}

async fn ask_memcache(cache: &Memcache, request: &Request) -> Result<Response, memcache::Error> {
    let key = request.query.as_str();
    Ok(match request.path.as_str() {
        "/memcache/count" => Response::text(cache.increment(key, 1).await?.to_string()),
        "/memcache/set" => {
            let minute = Some(Duration::from_secs(60));
            cache.set(key, b"kept", minute).await?;
            Response::ok()
        }
        "/memcache/get" => match cache.get(key).await? {
            Some(value) => Response::ok().body(value),
            None => Response::not_found(),
        },
        "/memcache/delete" => Response::text(cache.delete(key).await?.to_string()),
        _ => Response::not_found(),
    })
}
