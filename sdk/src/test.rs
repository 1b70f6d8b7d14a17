//! Tests of functions without a platform. [`Client`] calls the handler in this process. [`Worker`] runs the built
//! program and communicates with it over the real protocol.
//!
//! ```
//! use hearth_sdk::test::Client;
//! use hearth_sdk::{Request, Response};
//!
//! fn handle(visits: &mut u32, request: Request) -> Response {
//!     *visits += 1;
//!     Response::text(format!("{} {} {visits}", request.method, request.param("id").unwrap_or("-")))
//! }
//!
//! let mut client = Client::new(0, handle).with_route("/items/{id}");
//! assert_eq!(client.get("/items/7").text(), "GET 7 1");
//! let answer = client.send(Request::new("POST", "/items/8", "body").with_header("accept", "*/*"));
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.text(), "POST 8 2");
//! ```

mod worker;

use hearth_protocol::head::Config;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handshake;
use crate::log::Context;
use crate::request::Request;
use crate::response::{BodyWriter, IntoResponse, Response, ResponseBody};

pub use worker::{Broken, Worker};

/// The values that a manifest would give a function: those that [`env`](crate::env), [`resource`](crate::resource())
/// and [`secret`](crate::secret) return. All tests of handlers in one program share them.
#[derive(Clone, Debug, Default)]
pub struct Platform(Config);

impl Platform {
    /// A platform without any values.
    pub fn new() -> Platform {
        Platform(Config {
            function: "test".to_owned(),
            concurrency: 1,
            ..Config::default()
        })
    }

    /// Adds a value to `env`.
    pub fn with_env(mut self, name: &str, value: &str) -> Platform {
        self.0.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a resource.
    pub fn with_resource(mut self, name: &str, value: impl Into<Value>) -> Platform {
        self.0.resources.insert(name.to_owned(), value.into());
        self
    }

    /// Sets how many handlers of a [`Worker`] run at the same time.
    pub fn with_concurrency(mut self, handlers: u32) -> Platform {
        self.0.concurrency = handlers;
        self
    }

    /// Adds a secret.
    pub fn with_secret(mut self, name: &str, value: &str) -> Platform {
        self.0.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Gives these values to the functions of this program. Returns `false` if values have been installed before; those
    /// stay.
    pub fn install(self) -> bool {
        #[cfg(any(feature = "memcache", feature = "postgres", feature = "redis"))]
        crate::resource::names::IN_TESTS.get_or_init(|| {
            |host| {
                let found = std::net::ToSocketAddrs::to_socket_addrs(&(host, 0))?;
                Ok(found.map(|address| address.ip()).collect())
            }
        });
        handshake::pretend(self.0)
    }
}

/// Calls a handler as the platform does, with its own state. A panic of the handler is a panic of the test.
#[derive(Debug)]
pub struct Client<S, H> {
    state: S,
    handle: H,
    routes: Vec<String>,
}

/// The response of a handler, with its complete body.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl<S, R, H> Client<S, H>
where
    R: IntoResponse,
    H: FnMut(&mut S, Request) -> R,
{
    /// A client of this handler.
    pub fn new(state: S, handle: H) -> Client<S, H> {
        // Has no effect if the test has installed values before.
        Platform::new().install();
        Client {
            state,
            handle,
            routes: Vec::new(),
        }
    }

    /// Adds a route of the manifest. A request that matches it gets its parameters.
    pub fn with_route(mut self, pattern: &str) -> Client<S, H> {
        self.routes.push(pattern.to_owned());
        self
    }

    /// The handler's state.
    pub fn state(&mut self) -> &mut S {
        &mut self.state
    }

    /// Sends a GET request.
    pub fn get(&mut self, path_and_query: &str) -> Answer {
        self.send(Request::new("GET", path_and_query, ""))
    }

    /// Sends a POST request with this body.
    pub fn post(&mut self, path_and_query: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Request::new("POST", path_and_query, body))
    }

    /// Sends any request.
    pub fn send(&mut self, request: Request) -> Answer {
        let request = routed(&self.routes, request);
        let context = Context::of(request.id.clone());
        context.within(|| {
            let response = (self.handle)(&mut self.state, request);
            Answer::of(response.into_response())
        })
    }
}

/// Calls an asynchronous handler as the platform does, but one request at a time.
///
/// ```
/// use hearth_sdk::test::AsyncClient;
/// use hearth_sdk::{Request, Response};
///
/// async fn handle(greeting: &'static str, request: Request) -> Response {
///     Response::text(format!("{greeting}, {}", request.path))
/// }
///
/// let client = AsyncClient::new(async || "hello", handle);
/// assert_eq!(client.get("/ada").text(), "hello, /ada");
/// ```
#[cfg(feature = "async")]
#[derive(Debug)]
pub struct AsyncClient<S, H> {
    // Declared first, because the state must be dropped before the runtime on which its connections live.
    state: S,
    handle: H,
    routes: Vec<String>,
    local: tokio::task::LocalSet,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "async")]
impl<S, A, H> AsyncClient<S, H>
where
    S: Clone,
    A: Future<Output: IntoResponse>,
    H: Fn(S, Request) -> A,
{
    /// A client of this handler. `start` creates the state on the runtime that also runs the handler.
    ///
    /// # Panics
    /// If the runtime cannot be created.
    pub fn new(start: impl AsyncFnOnce() -> S, handle: H) -> AsyncClient<S, H> {
        Platform::new().install();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let local = tokio::task::LocalSet::new();
        AsyncClient {
            state: local.block_on(&runtime, start()),
            handle,
            routes: Vec::new(),
            local,
            runtime,
        }
    }

    /// Adds a route of the manifest. A request that matches it gets its parameters.
    pub fn with_route(mut self, pattern: &str) -> AsyncClient<S, H> {
        self.routes.push(pattern.to_owned());
        self
    }

    /// Sends a GET request.
    pub fn get(&self, path_and_query: &str) -> Answer {
        self.send(Request::new("GET", path_and_query, ""))
    }

    /// Sends a POST request with this body.
    pub fn post(&self, path_and_query: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Request::new("POST", path_and_query, body))
    }

    /// Sends any request.
    pub fn send(&self, request: Request) -> Answer {
        let request = routed(&self.routes, request);
        self.local.block_on(&self.runtime, async {
            let response = (self.handle)(self.state.clone(), request).await;
            Answer::of_async(response.into_response()).await
        })
    }
}

/// The request with the pattern and the parameters of the first route that it matches.
fn routed(routes: &[String], mut request: Request) -> Request {
    for route in routes {
        if let Some(params) = parameters(route, &request.path) {
            for (name, value) in params {
                request = request.with_param(&name, &value);
            }
            return request.with_route(route);
        }
    }
    request
}

/// The parameters of a path, if it matches the pattern. They are not percent-decoded.
fn parameters(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = path.strip_prefix('/')?;
    let mut segments = pattern.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        if let Some(name) = name.and_then(|name| name.strip_suffix('+')) {
            found.push((name.to_owned(), rest.to_owned()));
            return Some(found).filter(|_| !rest.is_empty());
        }
        let last = segments.peek().is_none();
        let (own, after) = match rest.split_once('/') {
            Some((own, after)) if !last => (own, after),
            None if last => (rest, ""),
            _ => return None,
        };
        match name {
            Some(name) if !own.is_empty() => found.push((name.to_owned(), own.to_owned())),
            None if own == segment => {}
            _ => return None,
        }
        rest = after;
    }
    Some(found)
}

impl Answer {
    fn of(response: Response) -> Answer {
        let status = response.status_code();
        let headers = response.headers();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let headers = headers.collect();
        let body = match response.body {
            ResponseBody::Whole(bytes) => bytes,
            ResponseBody::Stream(write) => {
                let mut writer = BodyWriter::into_memory();
                let written = write(&mut writer);
                assert!(written.is_ok(), "the body broke off: {written:?}");
                writer.take_memory()
            }
            #[cfg(feature = "async")]
            ResponseBody::Async(_) => panic!("an asynchronous body, of a handler that blocks"),
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    #[cfg(feature = "async")]
    async fn of_async(mut response: Response) -> Answer {
        if let ResponseBody::Async(write) = response.body {
            let (writer, written) = write(crate::AsyncBodyWriter::into_memory()).await;
            assert!(written.is_ok(), "the body broke off: {written:?}");
            response.body = ResponseBody::Whole(writer.take_memory());
        }
        Answer::of(response)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of this header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// If the body is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON, or does not fit the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn paths_fit_patterns_as_in_the_manifest() {
        let check = |pattern: &str, path: &str, expect: Option<&[(&str, &str)]>| {
            let found = parameters(pattern, path);
            let expect = expect.map(|list| {
                let owned = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
                owned.collect::<Vec<_>>()
            });
            assert_eq!(found, expect, "{pattern} {path}");
        };
        check("/", "/", Some(&[]));
        check("/items", "/items", Some(&[]));
        check("/items", "/items/", None);
        check("/items/{id}", "/items/7", Some(&[("id", "7")]));
        check("/items/{id}", "/items/", None);
        check("/items/{id}", "/items/7/x", None);
        check("/a/{b}/c/{d}", "/a/1/c/2", Some(&[("b", "1"), ("d", "2")]));
        check("/{rest+}", "/a/b", Some(&[("rest", "a/b")]));
        check("/{rest+}", "/", None);
    }

    #[test]
    fn a_streamed_body_is_read_to_its_end() {
        let mut client = Client::new((), |(): &mut (), _: Request| {
            Response::stream(|out| {
                for piece in 0..3 {
                    writeln!(out, "{piece}")?;
                    out.flush()?;
                }
                Ok(())
            })
        });
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text()), (200, "0\n1\n2\n"));
    }

    #[cfg(feature = "async")]
    #[test]
    fn asynchronous_bodies_are_read_to_their_end_and_tasks_run_beside() {
        let start = async || {
            let (send, receive) = tokio::sync::watch::channel(0);
            tokio::task::spawn_local(async move {
                for tick in 1..=3 {
                    tokio::task::yield_now().await;
                    send.send_replace(tick);
                }
                std::future::pending::<()>().await;
            });
            receive
        };
        let handle = |mut ticks: tokio::sync::watch::Receiver<i32>, request: Request| async move {
            ticks.wait_for(|tick| *tick == 3).await.unwrap();
            Response::stream_async(async move |out| {
                out.write(request.body.collect().await?).await?;
                out.write(" and more").await
            })
        };
        let client = AsyncClient::new(start, handle);
        assert_eq!(client.post("/", "some").text(), "some and more");
    }

    #[test]
    fn json_goes_both_ways_and_a_bad_body_is_the_handlers_problem() {
        let mut client = Client::new(0u64, |sum: &mut u64, request: Request| {
            let number: u64 = request.json()?;
            *sum += number;
            Ok::<_, crate::Problem>(Response::json(sum))
        });
        assert_eq!(client.post("/", "7").json::<u64>(), 7);
        assert_eq!(client.post("/", "x").status(), 400);
        assert_eq!(*client.state(), 7);
    }
}
