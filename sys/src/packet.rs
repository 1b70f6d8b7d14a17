//! Whole frames of one Ethernet interface (packet(7)), and a way to be woken only for some of them.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Frames of one interface.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// One instruction of the classic Berkeley packet filter (`linux/filter.h`): code, jumps, operand.
pub type Instruction = (u16, u8, u8, u32);

impl PacketSocket {
    /// Opens it for the interface with this number; never waits. Only frames that `filter` lets through
    /// are received, from the first one on.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` without such an interface.
    pub fn open(interface: u32, filter: &[Instruction]) -> io::Result<PacketSocket> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // No protocol: nothing is received before it is bound, and then the filter stands.
        // SAFETY: the call takes numbers, and its descriptor is owned at once.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let socket = PacketSocket(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.attach(filter)?;
        // SAFETY: all zeros is a value of this structure of numbers.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = i32::try_from(interface).unwrap_or(0);
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address has the family's layout and its size, and outlives the call.
        done(unsafe { libc::bind(fd, (&raw const address).cast(), size) })?;
        Ok(socket)
    }

    fn attach(&self, filter: &[Instruction]) -> io::Result<()> {
        let mut code: Vec<libc::sock_filter> = filter
            .iter()
            .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
            .collect();
        let program = libc::sock_fprog {
            len: u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: code.as_mut_ptr(),
        };
        let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let fd = self.0.as_raw_fd();
        // SAFETY: the program points at as many instructions as it says; the kernel copies and checks them.
        done(unsafe { libc::setsockopt(fd, level, option, (&raw const program).cast(), size) })
    }

    /// The next frame, into `room`; `None` if there is none now.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface went down, and what recv(2) says.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        let (start, length) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: the kernel writes no more than the room has.
        let count = unsafe { libc::recv(self.0.as_raw_fd(), start, length, 0) };
        match usize::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Sends a whole frame.
    ///
    /// # Errors
    /// What send(2) says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads no more than the frame has.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        match sent {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
