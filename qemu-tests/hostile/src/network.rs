//! Attacks on networks and sockets.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use nix::libc;

use crate::{Act, Done, Order};

pub(crate) const ACTS: &[Act] = &[
    ("connect", connect),
    ("connect fast", connect_fast),
    ("listen", listen),
    ("listen unbound", listen_unbound),
    ("udp", udp),
    ("socket", socket),
    ("unix", unix),
    ("abstract", abstract_name),
    ("listen abstract", listen_abstract),
    ("datagram pair", datagram_pair),
];

fn connect(order: &Order) -> Done {
    let address = order.text("address").parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    Ok("connected".to_owned())
}

/// Connects by sending (TCP Fast Open), which passes fewer checks.
fn connect_fast(order: &Order) -> Done {
    let address: std::net::SocketAddrV4 =
        order.text("address").parse().map_err(io::Error::other)?;
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the address has the stated size, and the address and the byte outlive the calls.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let (to, size) = ((&raw const to).cast(), size_of_val(&to) as libc::socklen_t);
        let byte = b"x";
        let sent = libc::sendto(fd, byte.as_ptr().cast(), 1, libc::MSG_FASTOPEN, to, size);
        let error = io::Error::last_os_error();
        libc::close(fd);
        match sent {
            1 => Ok("connected".to_owned()),
            _ => Err(error),
        }
    }
}

fn listen(order: &Order) -> Done {
    TcpListener::bind(order.text("address"))?;
    Ok("listens".to_owned())
}

/// Listens without bind: the kernel then chooses a port.
fn listen_unbound(_: &Order) -> Done {
    // SAFETY: all arguments are numbers; the descriptor is closed here.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let listens = libc::listen(fd, 1);
        let error = io::Error::last_os_error();
        libc::close(fd);
        match listens {
            0 => Ok("listens".to_owned()),
            _ => Err(error),
        }
    }
}

fn udp(order: &Order) -> Done {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"x", order.text("address"))?;
    Ok("sent".to_owned())
}

/// Only creates a socket of this family, type and protocol.
fn socket(order: &Order) -> Done {
    let number = |name| libc::c_int::try_from(order.number(name)).unwrap_or(-1);
    // SAFETY: all arguments are numbers; the descriptor is closed here.
    unsafe {
        let fd = libc::socket(number("family"), number("kind"), number("protocol"));
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::close(fd);
    }
    Ok("a socket".to_owned())
}

fn unix(order: &Order) -> Done {
    UnixStream::connect(order.text("path"))?;
    Ok("connected".to_owned())
}

fn abstract_name(order: &Order) -> Done {
    let address = SocketAddr::from_abstract_name(order.text("name"))?;
    UnixStream::connect_addr(&address)?;
    Ok("connected".to_owned())
}

fn listen_abstract(order: &Order) -> Done {
    let address = SocketAddr::from_abstract_name(order.text("name"))?;
    UnixListener::bind_addr(&address)?;
    Ok("listens".to_owned())
}

/// A datagram socket of a pair can send to any name.
fn datagram_pair(order: &Order) -> Done {
    let (one, _other) = UnixDatagram::pair()?;
    one.send_to(b"x", order.text("path"))?;
    Ok("sent".to_owned())
}
