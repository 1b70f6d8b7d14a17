//! The DHCP client's way to the wire: frames of one interface, of which the kernel lets only its own through.

use std::os::fd::{AsFd, BorrowedFd};

use hearth_sys::packet::{Instruction, PacketSocket};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetFrame, Ipv4Packet, UdpPacket};

/// The longest frame.
const LONGEST: usize = 1514;

/// Answers of ARP, by which the client finds its server when it renews, and UDP to the client's port: all else
/// never wakes this process. (Loads of half words and bytes, jumps; pcap-filter(7) writes it as
/// `arp[6:2] = 2 or (udp dst port 68 and ip[6:2] & 0x1fff = 0)`.)
const FILTER: &[Instruction] = &[
    (0x28, 0, 0, 12),
    (0x15, 0, 2, 0x0806),
    (0x28, 0, 0, 20),
    (0x15, 8, 9, 2),
    (0x15, 0, 8, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 6, 17),
    (0x28, 0, 0, 20),
    (0x45, 4, 0, 0x1fff),
    (0xb1, 0, 0, 14),
    (0x48, 0, 0, 16),
    (0x15, 0, 1, 68),
    (0x06, 0, 0, 0xffff),
    (0x06, 0, 0, 0),
];

/// Frames of one interface.
#[derive(Debug)]
pub(super) struct Wire {
    socket: PacketSocket,
}

impl Wire {
    pub(super) fn open(interface: u32) -> std::io::Result<Wire> {
        let socket = PacketSocket::open(interface, FILTER)?;
        Ok(Wire { socket })
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What every wire of a DHCP client can.
pub(super) fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = LONGEST;
    // A frame of the same machine, as virtual machines send them, has no sum in it yet.
    capabilities.checksum.udp = Checksum::Tx;
    capabilities
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let mut room = vec![0; LONGEST];
        // Of an interface that is down nothing comes.
        let count = self.socket.receive(&mut room).ok()??;
        room.truncate(count);
        Some((Received::new(room), Sending(&self.socket)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&self.socket))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Received(Vec<u8>);

impl Received {
    /// As it came, but for times of no sense.
    pub(super) fn new(mut frame: Vec<u8>) -> Received {
        if let Some(options) = options(&frame) {
            sensible_times(&mut frame[options..]);
        }
        Received(frame)
    }
}

/// Where the options of a DHCP message begin in its frame.
fn options(frame: &[u8]) -> Option<usize> {
    /// What a message holds before its options (RFC 2131, 2), with the number that says that there are some.
    const FIXED: usize = 240;
    let packet = EthernetFrame::new_checked(frame).ok()?.payload();
    let datagram = Ipv4Packet::new_checked(packet).ok()?.payload();
    let message = UdpPacket::new_checked(datagram).ok()?.payload();
    // Whatever fills up a short frame comes after it, and after the options' end.
    let before = message.as_ptr().addr() - frame.as_ptr().addr();
    message.get(FIXED..).map(|_| before + FIXED)
}

/// No lease is shorter, and none is renewed sooner, in seconds: one of no time would be asked for without end.
const SHORTEST: u32 = 10;
/// What smoltcp takes for one that has no time.
pub(super) const UNKNOWN: u32 = 120;

/// Sees to it that a lease lasts some time, and that the times at which it is renewed (T1 and T2) come in order
/// within it; else they become padding, and those of RFC 2131 hold. What the client makes of others ranges from
/// questions without a pause to an end by subtraction.
fn sensible_times(options: &mut [u8]) {
    const PADDING: u8 = 0;
    const END: u8 = 255;
    const LEASE: u8 = 51;
    const RENEWAL: u8 = 58;
    const REBINDING: u8 = 59;
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(&kind) = options.get(at).filter(|kind| **kind != END) {
        if kind == PADDING {
            at += 1;
            continue;
        }
        let Some(length) = options.get(at + 1) else {
            break;
        };
        let value = at + 2..at + 2 + usize::from(*length);
        if options.len() < value.end {
            break;
        }
        if let (LEASE | RENEWAL | REBINDING, 4) = (kind, length) {
            places.push((kind, at));
        }
        at = value.end;
    }
    let number = |options: &[u8], wanted: u8| {
        // Of several the last counts.
        let (_, at) = places.iter().rev().find(|(kind, _)| *kind == wanted)?;
        let four = options[at + 2..at + 6].try_into().ok()?;
        Some(u32::from_be_bytes(four))
    };
    let lease = number(options, LEASE).unwrap_or(UNKNOWN).max(SHORTEST);
    let inside = |time: u32| (SHORTEST..lease).contains(&time);
    let sensible = match (number(options, RENEWAL), number(options, REBINDING)) {
        (Some(first), Some(second)) => inside(first) && inside(second) && first <= second,
        (Some(one), None) | (None, Some(one)) => inside(one),
        (None, None) => true,
    };
    for (kind, at) in places {
        match kind {
            LEASE => options[at + 2..at + 6].copy_from_slice(&lease.to_be_bytes()),
            _ if !sensible => options[at..at + 6].fill(PADDING),
            _ => {}
        }
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

/// A frame that goes.
#[derive(Debug)]
pub(super) struct Sending<'a>(&'a PacketSocket);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let filled = fill(&mut frame);
        // What is lost is sent again.
        let _ = self.0.send(&frame);
        filled
    }
}
