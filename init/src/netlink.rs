//! The kernel's interfaces, addresses and routes (rtnetlink(7)): asked for, changed, and told of as they change.
//! Messages are a header of 16 bytes, a structure of their kind, and attributes, each filled up to four bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Groups to hear of (`RTMGRP_LINK` and so on, of linux/rtnetlink.h).
pub const LINKS: u32 = 1;
/// IPv4 addresses.
pub const ADDRESSES_4: u32 = 0x10;
/// IPv6 addresses.
pub const ADDRESSES_6: u32 = 0x100;

/// What routers say that the kernel makes nothing of (`RTNLGRP_ND_USEROPT`, the 20th group). A socket that hears of
/// it asks for nothing else: it is told once.
pub const ROUTERS: u32 = 1 << 19;

/// A message's own header.
const HEADER: usize = 16;

/// How long the kernel may take for an answer; it needs microseconds.
const PATIENCE: i64 = 5;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware's address, if it is of Ethernet.
    pub mac: Option<[u8; 6]>,
    /// It is up and has a carrier: a cable, and somebody at its other end.
    pub carrier: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Others beyond this link can use it, and it is known to be nobody else's.
    pub usable: bool,
}

/// What a router tells of name servers (RFC 8106, 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServers {
    /// The interface that it was heard at.
    pub index: u32,
    /// For so long they may be asked.
    pub lifetime: Duration,
    /// Their addresses.
    pub servers: Vec<Ipv6Addr>,
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens it; with `groups` it also hears of changes.
    pub fn open(groups: u32) -> io::Result<Netlink> {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Brings an interface up.
    pub fn link_up(&mut self, index: u32) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        let mut message = Message::new(libc::RTM_NEWLINK, ACK);
        // Family, padding, type of device, number, flags, and which of them change.
        message.put(&[0; 4]);
        message.put(&index.to_ne_bytes());
        message.put(&up.to_ne_bytes());
        message.put(&up.to_ne_bytes());
        self.ask(message, |_, _| {})
    }

    /// All interfaces.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut message = Message::new(libc::RTM_GETLINK, DUMP);
        message.put(&[0; 16]);
        let mut links = Vec::new();
        self.ask(message, |kind, body| {
            if kind == libc::RTM_NEWLINK {
                links.extend(link(body));
            }
        })?;
        Ok(links)
    }

    /// All addresses.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut message = Message::new(libc::RTM_GETADDR, DUMP);
        message.put(&[0; 8]);
        let mut addresses = Vec::new();
        self.ask(message, |kind, body| {
            if kind == libc::RTM_NEWADDR {
                addresses.extend(address(body));
            }
        })?;
        Ok(addresses)
    }

    /// Gives an interface an IPv4 address; one that it has is as good.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let flags = ACK | (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        let mut message = address_message(libc::RTM_NEWADDR, flags, index, address, prefix);
        let network = u32::from(address) | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        message.attribute(libc::IFA_BROADCAST, &network.to_be_bytes());
        self.ask(message, |_, _| {})
    }

    /// Takes it away again, with all routes by way of it; one that is gone is as good.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let message = address_message(libc::RTM_DELADDR, ACK, index, address, prefix);
        match self.ask(message, |_, _| {}) {
            // Nor is it there without its interface.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::ENODEV)
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Makes a router of this interface's network the way to everywhere else; instead of another.
    pub fn set_router(&mut self, index: u32, router: Ipv4Addr) -> io::Result<()> {
        let flags = ACK | (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        let mut message = route_message(libc::RTM_NEWROUTE, flags, index);
        message.attribute(libc::RTA_GATEWAY, &router.octets());
        self.ask(message, |_, _| {})
    }

    /// Takes the way to everywhere else by this interface away; one that is gone is as good.
    pub fn remove_router(&mut self, index: u32) -> io::Result<()> {
        let message = route_message(libc::RTM_DELROUTE, ACK, index);
        match self.ask(message, |_, _| {}) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Takes in what the kernel has told of itself; it only says that something has changed.
    pub fn drain(&mut self) {
        let mut room = [0; 8192];
        // What did not fit into the socket (ENOBUFS) is a change, too.
        while matches!(
            recv(self.socket.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT),
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR)
        ) {}
    }

    /// What routers have told of name servers since this was last asked, on a socket that hears of [`ROUTERS`].
    pub fn name_servers(&mut self) -> Vec<NameServers> {
        let mut room = [0; 8192];
        let mut all = Vec::new();
        loop {
            let received = recv(self.socket.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT);
            let mut left = match received {
                Ok(count) => &room[..count],
                // What did not fit is told again: routers repeat themselves.
                Err(Errno::ENOBUFS | Errno::EINTR) => continue,
                Err(_) => return all,
            };
            while let Some((kind, _, body, rest)) = split(left) {
                left = rest;
                if kind == libc::RTM_NEWNDUSEROPT {
                    all.extend(name_servers(body));
                }
            }
        }
    }

    /// Sends a message and hands on what comes of it, to the end.
    fn ask(&mut self, mut message: Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        message.finish(self.sequence);
        let (socket, kernel) = (self.socket.as_raw_fd(), NetlinkAddr::new(0, 0));
        sendto(socket, &message.0, &kernel, MsgFlags::empty())?;
        let mut room = vec![0; 32 * 1024];
        loop {
            let count = recv(socket, &mut room, MsgFlags::empty())?;
            let mut left = &room[..count];
            while let Some((kind, sequence, body, rest)) = split(left) {
                left = rest;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let errno = number(body, 0).map_or(libc::EIO, |bits| -(bits as i32));
                        return match errno {
                            0 => Ok(()),
                            errno => Err(io::Error::from_raw_os_error(errno)),
                        };
                    }
                    kind => each(kind, body),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
/// NLMSG_ERROR, whose number may be 0, and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A message that is being made.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and sender.
        bytes.extend([0; 8]);
        Message(bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self, sequence: u32) {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// `struct ifaddrmsg` and the address.
fn address_message(kind: u16, flags: u16, index: u32, address: Ipv4Addr, prefix: u8) -> Message {
    let mut message = Message::new(kind, flags);
    message.put(&[libc::AF_INET as u8, prefix, 0, 0]);
    message.put(&index.to_ne_bytes());
    message.attribute(libc::IFA_LOCAL, &address.octets());
    message.attribute(libc::IFA_ADDRESS, &address.octets());
    message
}

/// `struct rtmsg` (family, lengths of the prefixes, service, table, protocol, scope, type, flags) and the interface.
fn route_message(kind: u16, flags: u16, index: u32) -> Message {
    let mut message = Message::new(kind, flags);
    let boot = libc::RTPROT_BOOT;
    let (table, unicast) = (libc::RT_TABLE_MAIN, libc::RTN_UNICAST);
    message.put(&[libc::AF_INET as u8, 0, 0, 0, table, boot, 0, unicast]);
    message.put(&[0; 4]);
    message.attribute(libc::RTA_OIF, &index.to_ne_bytes());
    message
}

/// The first message: its kind, sequence number and body, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = number(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, number(bytes, 8)?, body, rest))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

/// The attributes of a body, whose structure is `skip` bytes long.
fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut left = body.get(skip..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(left.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(left.get(2..4)?.try_into().ok()?);
        let value = left.get(4..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn link(body: &[u8]) -> Option<Link> {
    // `struct ifinfomsg`: family, padding, type (u16), number, flags, change.
    const ETHERNET: u16 = 1;
    let kind = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?);
    let (index, flags) = (number(body, 4)?, number(body, 8)?);
    let wanted = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP) as u32;
    let mut link = Link {
        index,
        name: String::new(),
        mac: None,
        carrier: flags & wanted == wanted,
    };
    for (attribute, value) in attributes(body, 16) {
        match attribute {
            libc::IFLA_IFNAME => {
                let name = value.strip_suffix(b"\0").unwrap_or(value);
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS if kind == ETHERNET => link.mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8]) -> Option<Address> {
    // `struct ifaddrmsg`: family, prefix, flags, scope, number.
    let (family, prefix, flags, scope) =
        (*body.first()?, *body.get(1)?, *body.get(2)?, *body.get(3)?);
    let index = number(body, 4)?;
    let mut found = None;
    for (attribute, value) in attributes(body, 8) {
        let local = attribute == libc::IFA_LOCAL;
        if local || (attribute == libc::IFA_ADDRESS && found.is_none()) {
            found = match i32::from(family) {
                libc::AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
                libc::AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
                _ => None,
            };
        }
    }
    // Not while it is asked for whether somebody else has it, nor if somebody has (linux/if_addr.h).
    const DOUBTFUL: u8 = 0x40 | 0x08;
    Some(Address {
        index,
        address: found?,
        prefix,
        usable: scope == 0 && flags & DOUBTFUL == 0,
    })
}

/// `struct nduseroptmsg` (family, length of the options, number of the interface, kind of message), then one option.
fn name_servers(body: &[u8]) -> Option<NameServers> {
    const ADVERTISEMENT: u8 = 134;
    const RDNSS: u8 = 25;
    let index = number(body, 4)?;
    if *body.get(8)? != ADVERTISEMENT {
        return None;
    }
    let option = body.get(16..)?;
    let (kind, eights) = (*option.first()?, usize::from(*option.get(1)?));
    if kind != RDNSS || eights < 3 {
        return None;
    }
    let option = option.get(..eights * 8)?;
    let lifetime = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
    let (servers, _) = option[8..].as_chunks::<16>();
    Some(NameServers {
        index,
        lifetime: Duration::from_secs(lifetime.into()),
        servers: servers.iter().map(|one| Ipv6Addr::from(*one)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_split_as_it_was_made_and_half_of_one_is_none() {
        let mut message =
            address_message(libc::RTM_NEWADDR, ACK, 3, Ipv4Addr::new(192, 168, 1, 5), 24);
        message.finish(7);
        let (kind, sequence, body, rest) = split(&message.0).unwrap();
        assert_eq!((kind, sequence, rest), (libc::RTM_NEWADDR, 7, &[][..]));
        let read = address(body).unwrap();
        assert_eq!((read.index, read.prefix), (3, 24));
        assert_eq!(read.address, IpAddr::from([192, 168, 1, 5]));
        for length in 0..message.0.len() {
            assert!(split(&message.0[..length]).is_none(), "{length}");
        }
        // Attributes whose lengths lie end the list.
        assert_eq!(attributes(&[0, 0, 1, 0], 0).count(), 0);
        assert_eq!(attributes(&[255, 0, 1, 0], 0).count(), 0);
    }

    #[test]
    fn name_servers_are_read_and_what_is_cut_off_is_none() {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&2u32.to_ne_bytes());
        body[8] = 134;
        body.extend([25, 5, 0, 0, 0, 0, 0x02, 0x58]);
        let servers: [Ipv6Addr; 2] = ["fd00::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        body.extend(servers.iter().flat_map(Ipv6Addr::octets));
        let told = NameServers {
            index: 2,
            lifetime: Duration::from_secs(600),
            servers: servers.to_vec(),
        };
        assert_eq!(name_servers(&body), Some(told));
        for length in 0..body.len() {
            assert_eq!(name_servers(&body[..length]), None, "{length}");
        }
        let with = |at: usize, value: u8| {
            let mut other = body.clone();
            other[at] = value;
            name_servers(&other)
        };
        assert_eq!(with(8, 136), None, "no router's");
        assert_eq!(with(16, 31), None, "a list of domains");
        assert_eq!(with(17, 0), None);
        assert_eq!(with(17, 2), None);
        assert_eq!(with(17, 255), None);
        assert_eq!(with(17, 4).map(|told| told.servers.len()), Some(1));
    }

    #[test]
    fn the_kernel_tells_of_the_loopback_interface() {
        let mut netlink = Netlink::open(LINKS).unwrap();
        let links = netlink.links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((loopback.index, loopback.mac), (1, None));
        assert!(netlink.addresses().is_ok());
    }
}
