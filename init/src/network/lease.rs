//! An address from a DHCP server: asked for, renewed, bound anew, given up (RFC 2131). The states are smoltcp's;
//! here is what the appliance wants of them, with time passed in.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::Socket as AnyKind;
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::time::{Duration as SmolDuration, Instant};
use smoltcp::wire::{DhcpOption, EthernetAddress, HardwareAddress, IpCidr};

use super::wire::UNKNOWN;

/// Routers (RFC 2132, 3.5), time servers (8.3), and the client's name (3.14).
const ROUTERS: u8 = 3;
const TIME_SERVERS: u8 = 42;
const HOST_NAME: u8 = 12;
/// How long a lease is (9.2), in seconds.
const DURATION: u8 = 51;

/// What is asked for: subnet mask, router, name servers, time servers.
const WANTED: &[u8] = &[1, ROUTERS, 6, TIME_SERVERS];

/// It is not polled more often without a frame: one that waits for a neighbour would want it without a pause.
const SOONEST: Duration = Duration::from_millis(250);

/// What a server gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) address: Option<(Ipv4Addr, u8)>,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) dns: Vec<Ipv4Addr>,
    pub(super) time: Vec<Ipv4Addr>,
}

/// A client on one interface.
pub(super) struct Lease<D: Device> {
    pub(super) device: D,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// What was given last, ...
    given: Given,
    /// ... and how long that holds, as of its last renewal.
    pub(super) until: Duration,
}

impl<D: Device> Lease<D> {
    /// Begins to ask. `seed` is what nobody can guess, for the numbers of requests.
    pub(super) fn new(
        mut device: D,
        mac: [u8; 6],
        hostname: &str,
        seed: u64,
        now: Duration,
    ) -> Lease<D> {
        let interface = interface(&mut device, mac, seed, now);
        let mut socket = Socket::new();
        // A process has one client, which goes from card to card: what these hold is kept.
        let name: &'static [u8] = Box::leak(hostname.as_bytes().into());
        let options = Box::leak(Box::new([DhcpOption {
            kind: HOST_NAME,
            data: name,
        }]));
        socket.set_outgoing_options(options);
        socket.set_parameter_request_list(WANTED);
        socket.set_receive_packet_buffer(Box::leak(vec![0; 1500].into()));
        // A cable is there: the first question is asked again soon, since bridges and switches lose it while
        // they look for loops.
        let mut retry = RetryConfig::default();
        retry.discover_timeout = SmolDuration::from_secs(3);
        socket.set_retry_config(retry);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Lease {
            device,
            interface,
            sockets,
            handle,
            given: Given::default(),
            until: now,
        }
    }

    /// Forgets what was given and begins anew: another card, or another cable.
    pub(super) fn move_to(&mut self, mut device: D, mac: [u8; 6], seed: u64, now: Duration) {
        self.interface = interface(&mut device, mac, seed, now);
        self.device = device;
        self.given = Given::default();
        self.sockets.get_mut::<Socket<'_>>(self.handle).reset();
        self.forget_neighbours();
    }

    /// A socket that waits for a neighbour's answer wants to be polled at once, for ever, where that never comes; one
    /// that has just been added waits for nobody.
    fn forget_neighbours(&mut self) {
        let AnyKind::Dhcpv4(socket) = self.sockets.remove(self.handle);
        self.handle = self.sockets.add(socket);
    }

    /// Takes in what has come, and sends what is due. What has changed, if anything has.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Given> {
        self.interface
            .poll(instant(now), &mut self.device, &mut self.sockets);
        let given = match self.sockets.get_mut::<Socket<'_>>(self.handle).poll()? {
            Event::Deconfigured => Given::default(),
            Event::Configured(config) => {
                let packet = config.packet.as_ref();
                let data = |kind| {
                    let mut options = packet.into_iter().flat_map(|packet| packet.options());
                    options
                        .find(|option| option.kind == kind)
                        .map(|found| found.data)
                };
                let option = |kind| data(kind).map_or(Vec::new(), addresses);
                let lasts = data(DURATION).and_then(|data| data.try_into().ok());
                let lasts = lasts.map_or(UNKNOWN, u32::from_be_bytes);
                self.until = now.saturating_add(Duration::from_secs(lasts.into()));
                Given {
                    address: Some((config.address.address(), config.address.prefix_len())),
                    // There may be several, of which smoltcp takes none.
                    router: option(ROUTERS).first().copied().or(config.router),
                    dns: config.dns_servers.to_vec(),
                    time: option(TIME_SERVERS),
                }
            }
        };
        // A renewal seldom changes anything, and before the first lease there is none to be lost.
        if given == self.given {
            return None;
        }
        if given.address.is_none() {
            self.forget_neighbours();
        }
        self.given = given.clone();
        // By these it renews.
        self.interface.update_ip_addrs(|held| {
            held.clear();
            let cidr = given
                .address
                .map(|(address, prefix)| IpCidr::new(address.into(), prefix));
            // There is room for two.
            held.extend(cidr);
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = given.router {
            // There is room for one.
            let _ = routes.add_default_ipv4_route(router);
        }
        Some(given)
    }

    /// When it wants to be polled, at the latest.
    pub(super) fn delay(&mut self, now: Duration) -> Option<Duration> {
        let delay = self.interface.poll_delay(instant(now), &self.sockets);
        delay.map(|delay| Duration::from(delay).max(SOONEST))
    }
}

/// What the client sends and receives by.
fn interface(device: &mut impl Device, mac: [u8; 6], seed: u64, now: Duration) -> Interface {
    let address = HardwareAddress::Ethernet(EthernetAddress(mac));
    let mut config = Config::new(address);
    config.random_seed = seed;
    Interface::new(config, device, instant(now))
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn addresses(data: &[u8]) -> Vec<Ipv4Addr> {
    let four = data.chunks_exact(4);
    four.map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3]))
        .collect()
}

#[cfg(test)]
mod tests;
