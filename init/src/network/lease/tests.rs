//! A client and a server of a few lines, over a wire in memory, with years in a moment.

use std::collections::VecDeque;

use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::wire::{
    ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame, EthernetProtocol,
    IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::*;
use crate::network::wire::{Received, capabilities};

const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

#[derive(Default)]
struct Memory {
    to_client: VecDeque<Vec<u8>>,
    from_client: Vec<Vec<u8>>,
}

struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let filled = fill(&mut frame);
        self.0.push(frame);
        filled
    }
}

impl Device for Memory {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Outgoing<'_>)> {
        let frame = self.to_client.pop_front()?;
        Some((Received::new(frame), Outgoing(&mut self.from_client)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.from_client))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

/// A client, a server that answers or not, and the time.
struct World {
    lease: Lease<Memory>,
    now: Duration,
    answers: bool,
    /// Nor does it answer whoever looks for it on the cable.
    gone: bool,
    /// How often the client was polled.
    polls: u32,
    /// The server's option 3.
    routers: &'static [u8],
    /// Its lease, and when it wants to be asked again (T1, T2), in seconds.
    times: (Option<u32>, Option<u32>, Option<u32>),
    /// What the client said, in order, and whether to everybody.
    said: Vec<(DhcpMessageType, bool)>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl World {
    fn new() -> World {
        World {
            lease: Lease::new(Memory::default(), CLIENT, "kitchen", 7, Duration::ZERO),
            now: Duration::ZERO,
            answers: true,
            gone: false,
            polls: 0,
            routers: &[10, 0, 2, 2],
            times: (Some(7200), None, None),
            said: Vec::new(),
        }
    }

    /// Lets time go by until `until`, or something has changed.
    fn run(&mut self, until: Duration) -> Option<Given> {
        loop {
            let changed = self.lease.poll(self.now);
            self.polls += 1;
            for frame in std::mem::take(&mut self.lease.device.from_client) {
                self.serve(&frame);
            }
            if changed.is_some() {
                return changed;
            }
            if self.lease.device.to_client.is_empty() {
                let delay = self.lease.delay(self.now).unwrap_or(HOUR);
                assert!(!delay.is_zero(), "without a pause");
                self.now += delay;
                if self.now >= until {
                    return None;
                }
            }
        }
    }

    fn serve(&mut self, frame: &[u8]) {
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        match ethernet.ethertype() {
            EthernetProtocol::Arp => {
                let packet = ArpPacket::new_checked(ethernet.payload()).unwrap();
                let ArpRepr::EthernetIpv4 {
                    source_hardware_addr,
                    source_protocol_addr,
                    target_protocol_addr,
                    ..
                } = ArpRepr::parse(&packet).unwrap()
                else {
                    panic!("no ARP of IPv4")
                };
                assert_eq!(target_protocol_addr, SERVER_IP);
                if self.gone {
                    return;
                }
                let answer = ArpRepr::EthernetIpv4 {
                    operation: smoltcp::wire::ArpOperation::Reply,
                    source_hardware_addr: SERVER,
                    source_protocol_addr: SERVER_IP,
                    target_hardware_addr: source_hardware_addr,
                    target_protocol_addr: source_protocol_addr,
                };
                let payload = |bytes: &mut [u8]| answer.emit(&mut ArpPacket::new_unchecked(bytes));
                self.send(EthernetProtocol::Arp, answer.buffer_len(), payload);
            }
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
                let udp = UdpPacket::new_checked(ip.payload()).unwrap();
                let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
                let asked = DhcpRepr::parse(&packet).unwrap();
                let everybody = ip.dst_addr() == Ipv4Addr::BROADCAST;
                self.said.push((asked.message_type, everybody));
                let name = packet.options().find(|option| option.kind == HOST_NAME);
                assert_eq!(name.unwrap().data, b"kitchen");
                if self.answers {
                    self.answer(&asked);
                }
            }
            other => panic!("{other}"),
        }
    }

    fn answer(&mut self, asked: &DhcpRepr<'_>) {
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            other => panic!("{other:?}"),
        };
        let (lease, renew, rebind) = self.times;
        // smoltcp writes neither T1 nor T2 by itself.
        let [renew, rebind] = [renew, rebind].map(|time| time.map(u32::to_be_bytes));
        let option = |kind, data| DhcpOption { kind, data };
        let mut options = vec![
            option(TIME_SERVERS, &[10, 0, 2, 4][..]),
            option(ROUTERS, self.routers),
        ];
        options.extend(renew.as_ref().map(|data| option(58, data)));
        options.extend(rebind.as_ref().map(|data| option(59, data)));
        let answer = DhcpRepr {
            message_type,
            your_ip: GIVEN,
            server_ip: SERVER_IP,
            router: None,
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER_IP),
            parameter_request_list: None,
            dns_servers: Some([Ipv4Addr::new(10, 0, 2, 3)].into_iter().collect()),
            max_size: None,
            lease_duration: lease,
            additional_options: &options,
            ..*asked
        };
        let udp = UdpRepr {
            src_port: 67,
            dst_port: 68,
        };
        let ip = Ipv4Repr {
            src_addr: SERVER_IP,
            dst_addr: GIVEN,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + answer.buffer_len(),
            hop_limit: 64,
        };
        let sums = capabilities().checksum;
        let length = ip.buffer_len() + ip.payload_len;
        self.send(EthernetProtocol::Ipv4, length, |bytes| {
            let mut packet = Ipv4Packet::new_unchecked(bytes);
            ip.emit(&mut packet, &sums);
            let mut inner = UdpPacket::new_unchecked(packet.payload_mut());
            let (from, to) = (SERVER_IP.into(), GIVEN.into());
            let emit = |bytes: &mut [u8]| {
                answer.emit(&mut DhcpPacket::new_unchecked(bytes)).unwrap();
            };
            udp.emit(&mut inner, &from, &to, answer.buffer_len(), emit, &sums);
        });
    }

    fn send(&mut self, kind: EthernetProtocol, length: usize, fill: impl FnOnce(&mut [u8])) {
        let mut bytes = vec![0; 14 + length];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_src_addr(SERVER);
        frame.set_dst_addr(EthernetAddress(CLIENT));
        frame.set_ethertype(kind);
        fill(frame.payload_mut());
        self.lease.device.to_client.push_back(bytes);
    }
}

#[test]
fn an_address_is_asked_for_and_kept_by_renewal() {
    let mut world = World::new();
    let given = world.run(HOUR).unwrap();
    assert_eq!(given.address, Some((GIVEN, 24)));
    assert_eq!(given.router, Some(SERVER_IP));
    assert_eq!(given.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
    assert_eq!(given.time, [Ipv4Addr::new(10, 0, 2, 4)]);
    assert_eq!(world.lease.until, world.now + 2 * HOUR);
    let (discover, request) = (DhcpMessageType::Discover, DhcpMessageType::Request);
    assert_eq!(world.said, [(discover, true), (request, true)]);
    // A day: every hour, half of the lease's time, the server itself is asked.
    world.said.clear();
    let day = world.now + 24 * HOUR;
    assert_eq!(world.run(day), None);
    assert!((20..=26).contains(&world.said.len()), "{:?}", world.said);
    assert!(world.said.iter().all(|said| *said == (request, false)));
    assert!(world.lease.until > day, "it was renewed");
}

#[test]
fn of_several_routers_the_first_is_taken() {
    let mut world = World::new();
    world.routers = &[10, 0, 2, 2, 10, 0, 2, 9];
    assert_eq!(world.run(HOUR).unwrap().router, Some(SERVER_IP));
}

#[test]
fn a_server_that_falls_silent_is_asked_by_broadcast_and_then_given_up() {
    let mut world = World::new();
    world.run(HOUR).unwrap();
    world.answers = false;
    world.said.clear();
    let begun = world.now;
    let lost = world.run(100 * HOUR).unwrap();
    assert_eq!(lost, Given::default());
    let lived = world.now - begun;
    assert!(lived >= 2 * HOUR - Duration::from_secs(60), "{lived:?}");
    assert!(lived <= 2 * HOUR + Duration::from_secs(60), "{lived:?}");
    let first_broadcast = world.said.iter().position(|said| said.1).unwrap();
    assert!(first_broadcast > 0, "{:?}", world.said);
    // One that is there again serves again.
    world.answers = true;
    assert_eq!(world.run(200 * HOUR).unwrap().address, Some((GIVEN, 24)));
}

#[test]
fn a_server_that_is_gone_costs_no_time() {
    let mut world = World::new();
    world.run(HOUR).unwrap();
    (world.answers, world.gone, world.polls) = (false, true, 0);
    assert_eq!(world.run(100 * HOUR), Some(Given::default()));
    // Once a second it is looked for in the middle of the lease, and four times at its end; then all are asked.
    assert!(world.polls < 7200, "{}", world.polls);
    world.polls = 0;
    let day = world.now + 24 * HOUR;
    assert_eq!(world.run(day), None);
    assert!(world.polls < 24 * 3600 / 2, "{}", world.polls);
    // On another cable there is nobody to be waited for.
    let mut world = World::new();
    world.run(HOUR).unwrap();
    (world.answers, world.gone) = (false, true);
    let later = world.now + HOUR + HOUR / 2;
    assert_eq!(world.run(later), None);
    world.polls = 0;
    let now = world.now;
    world.lease.move_to(Memory::default(), CLIENT, 8, now);
    assert_eq!(world.run(now + HOUR), None);
    assert!(world.polls < 3600 / 2, "{}", world.polls);
}

#[test]
fn on_another_cable_it_begins_anew() {
    let mut world = World::new();
    world.run(HOUR).unwrap();
    world.said.clear();
    let now = world.now;
    world.lease.move_to(Memory::default(), CLIENT, 8, now);
    assert_eq!(world.run(now + HOUR).unwrap().address, Some((GIVEN, 24)));
    let (discover, request) = (DhcpMessageType::Discover, DhcpMessageType::Request);
    assert_eq!(world.said, [(discover, true), (request, true)]);
    // One that was in the middle of something, too.
    world.answers = false;
    let now = world.now;
    world.lease.move_to(Memory::default(), CLIENT, 9, now);
    assert_eq!(world.run(now + Duration::from_secs(10)), None);
    world.answers = true;
    let now = world.now;
    world.lease.move_to(Memory::default(), CLIENT, 10, now);
    assert_eq!(world.run(now + HOUR).unwrap().address, Some((GIVEN, 24)));
}

/// The lease is kept for a day, and how often the server is asked for that.
fn asked_in_a_day(times: (Option<u32>, Option<u32>, Option<u32>)) -> usize {
    let mut world = World::new();
    world.times = times;
    let given = world.run(HOUR).unwrap();
    assert_eq!(given.address, Some((GIVEN, 24)), "{times:?}");
    world.said.clear();
    let day = world.now + 24 * HOUR;
    assert_eq!(world.run(day), None, "{times:?}");
    world.said.len()
}

#[test]
fn times_of_no_sense_are_made_up_for() {
    let hourly = 20..=26;
    for (renew, rebind) in [
        // Later than the lease ends, alone and together; after the last moment.
        (Some(7201), None),
        (Some(u32::MAX), None),
        (Some(u32::MAX), Some(u32::MAX)),
        (Some(6000), Some(3000)),
        (None, Some(u32::MAX)),
        (None, None),
    ] {
        let asked = asked_in_a_day((Some(7200), renew, rebind));
        assert!(hourly.contains(&asked), "{renew:?} {rebind:?}: {asked}");
    }
    // Nor is one that would be asked every second.
    let asked = asked_in_a_day((Some(7200), Some(1), Some(2)));
    assert!(hourly.contains(&asked), "{asked}");
    // What a server means is done.
    for rebind in [Some(6000), None] {
        let asked = asked_in_a_day((Some(7200), Some(1800), rebind));
        assert!((40..=50).contains(&asked), "{rebind:?}: {asked}");
    }
    let asked = asked_in_a_day((Some(60), None, None));
    assert!((2400..=3000).contains(&asked), "{asked}");
    // A lease of no time is one of ten seconds.
    for none in [0, 1, 9] {
        let asked = asked_in_a_day((Some(none), Some(0), Some(0)));
        assert!((14_000..=18_000).contains(&asked), "{none}: {asked}");
    }
    let asked = asked_in_a_day((None, None, None));
    assert!((1200..=1500).contains(&asked), "{asked}");
}

#[test]
fn any_bytes_are_no_lease() {
    let mut world = World::new();
    for length in [0, 1, 13, 14, 42, 60, 300, 1514] {
        world.lease.device.to_client.push_back(vec![0xff; length]);
        world.lease.device.to_client.push_back(vec![0; length]);
    }
    assert_eq!(world.lease.poll(Duration::ZERO), None);
    // Nor is any part of a good answer one that ends the process.
    let mut world = World::new();
    world.times = (Some(7200), Some(1800), Some(6000));
    world.lease.poll(Duration::ZERO);
    let asked = world.lease.device.from_client.pop().unwrap();
    world.serve(&asked);
    let good = world.lease.device.to_client.pop_front().unwrap();
    for length in 0..good.len() {
        world
            .lease
            .device
            .to_client
            .push_back(good[..length].into());
        for byte in [0, 1, 4, 0x45, 0xff] {
            let mut wrong = good.clone();
            wrong[length] = byte;
            world.lease.device.to_client.push_back(wrong);
        }
    }
    world.lease.poll(Duration::ZERO);
}
