//! Metrics over TCP, if the manifest sets an address: only `GET /metrics`, for all clients that can reach the address.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::patient::Patient;
use super::reply::Reply;
use super::{Service, WRITE_TIME, connection};
use crate::api::{Problem, Request};

/// Maximum number of clients at the same time. Further clients wait in the kernel's queue.
const CLIENTS: usize = 16;

/// The path of the metrics.
const PATH: &str = "/metrics";

/// A bound listener for metrics.
#[derive(Debug)]
pub struct Door {
    /// The address in the manifest.
    pub asked: SocketAddr,
    /// The address that is bound, with the port that the kernel chose if the manifest sets port 0.
    pub address: SocketAddr,
    socket: StdTcpListener,
}

impl Door {
    /// Binds the address in the manifest, or returns `before` if that has the same address.
    pub fn bind(
        asked: Option<SocketAddr>,
        before: Option<&Rc<Door>>,
    ) -> Result<Option<Rc<Door>>, (SocketAddr, io::Error)> {
        let Some(asked) = asked else {
            return Ok(None);
        };
        if let Some(same) = before.filter(|door| door.asked == asked) {
            return Ok(Some(Rc::clone(same)));
        }
        let failed = |error| (asked, error);
        let socket = StdTcpListener::bind(asked).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Some(Rc::new(Door {
            asked,
            address,
            socket,
        })))
    }
}

/// Serves metrics on one listener at a time.
#[derive(Debug)]
pub struct Doorman {
    service: Rc<Service>,
    open: Option<(SocketAddr, AbortHandle)>,
}

impl Doorman {
    /// A server that has no listener yet.
    pub fn new(service: Rc<Service>) -> Doorman {
        Doorman {
            service,
            open: None,
        }
    }

    /// Serves on this listener from now on, and on no other.
    pub fn stand_at(&mut self, door: Option<&Rc<Door>>) -> io::Result<()> {
        let address = door.map(|door| door.address);
        if self.open.as_ref().map(|(address, _)| *address) == address {
            return Ok(());
        }
        if let Some((_, task)) = self.open.take() {
            task.abort();
        }
        if let Some(door) = door {
            let listener = TcpListener::from_std(door.socket.try_clone()?)?;
            let task = tokio::task::spawn_local(accept(listener, Rc::clone(&self.service)));
            self.open = Some((door.address, task.abort_handle()));
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, service: Rc<Service>) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(place) = Arc::clone(&clients).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // The process may have too many open files, which is temporary.
            tokio::time::sleep(super::ACCEPT_PAUSE).await;
            continue;
        };
        let service = Rc::clone(&service);
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request: http::Request<Incoming>| {
                let service = Rc::clone(&service);
                async move { Ok::<_, Infallible>(answer(&service, &request).await) }
            });
            // An error of a connection concerns only its client.
            let _ = connection(Patient::new(stream, WRITE_TIME), answer).await;
            drop(place);
        });
    }
}

async fn answer(service: &Service, request: &http::Request<Incoming>) -> Response<Reply> {
    match (request.method().as_str(), request.uri().path()) {
        _ if !request.body().is_end_stream() => Reply::problem(&Problem::body()),
        ("GET", PATH) => service.respond(Request::Metrics).await,
        (_, PATH) => Reply::problem(&Problem::method(vec!["GET".to_owned()])),
        _ => Reply::problem(&Problem::not_found(format!("there is {PATH}"))),
    }
}
