//! Brings up the loopback interface with one rtnetlink(7) message.

use std::os::fd::AsRawFd;

use anyhow::{bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The index of the first interface of every network namespace.
const INDEX: i32 = 1;

pub(crate) fn up() -> anyhow::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message(), &kernel, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let count = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // A header, then the error number, which is 0 for success.
    ensure!(count >= 20, "the kernel answers {count} bytes");
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => bail!("{}", Errno::from_raw(-error)),
    }
}

/// `struct nlmsghdr` and `struct ifinfomsg` (linux/rtnetlink.h) that set the interface's flag "up".
fn message() -> Vec<u8> {
    const LENGTH: u32 = 32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let up = libc::IFF_UP as u32;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender.
    message.extend([0; 8]);
    // Family, padding and device type.
    message.extend([0; 4]);
    message.extend(INDEX.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    // The mask of the flags to change.
    message.extend(up.to_ne_bytes());
    message
}
