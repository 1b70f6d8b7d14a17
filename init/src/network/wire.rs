//! The DHCP client's way to the wire: frames of one interface, of which the kernel lets only its own through.

use std::os::fd::{AsFd, BorrowedFd};

use hearth_sys::packet::{Instruction, PacketSocket};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

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
        Some((Received(room), Sending(&self.socket)))
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
pub(super) struct Received(pub(super) Vec<u8>);

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
