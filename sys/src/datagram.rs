//! Datagrams over a Unix socket with a name, with who sent them (SCM_CREDENTIALS) and what
//! descriptors came along (SCM_RIGHTS, unix(7)).

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt,
};

use crate::passing::MAX_FDS;

/// Who sent a datagram, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The process.
    pub process: u32,
    /// Its user.
    pub user: u32,
}

/// A datagram that was received.
#[derive(Debug)]
pub struct Datagram {
    /// How many bytes of it are there.
    pub length: usize,
    /// There were more than there was room for.
    pub cut: bool,
    /// Who sent it.
    pub sender: Option<Sender>,
    /// What came along.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives datagrams at `path`, each with its sender. A socket that nobody receives at any more is
/// replaced.
///
/// # Errors
/// `AddrInUse` if somebody receives there, or something else has that name.
pub fn bind(path: &Path) -> io::Result<UnixDatagram> {
    if let Ok(there) = fs::symlink_metadata(path) {
        let deserted = there.file_type().is_socket()
            && UnixDatagram::unbound()?
                .connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !deserted {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let socket = UnixDatagram::bind(path)?;
    setsockopt(&socket, PassCred, &true)?;
    Ok(socket)
}

/// Receives one datagram into `room`. Descriptors that did not fit are closed by the kernel.
///
/// # Errors
/// `WouldBlock` if there is none, and what recvmsg(2) says.
pub fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Datagram> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS], UnixCredentials);
    let mut iov = [IoSliceMut::new(room)];
    let message = recvmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut datagram = Datagram {
        length: message.bytes,
        cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        sender: None,
        descriptors: Vec::new(),
    };
    if let Ok(messages) = message.cmsgs() {
        for control in messages {
            match control {
                ControlMessageOwned::ScmRights(raw) => {
                    // SAFETY: the kernel has just made these descriptors for this process, and nothing
                    // else knows their numbers yet.
                    let fresh = raw
                        .into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                    datagram.descriptors.extend(fresh);
                }
                ControlMessageOwned::ScmCredentials(credentials) => {
                    datagram.sender = Some(Sender {
                        process: u32::try_from(credentials.pid()).unwrap_or(0),
                        user: credentials.uid(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(datagram)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_datagram_has_its_sender_its_descriptors_and_an_end() {
        let path = std::env::temp_dir().join(format!("hearth-datagram-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let socket = bind(&path).unwrap();
        let taken = bind(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        client.send(b"hello").unwrap();
        let mut room = [0; 4];
        let got = receive(socket.as_fd(), &mut room).unwrap();
        assert_eq!((got.length, got.cut, &room), (4, true, b"hell"));
        let sender = got.sender.unwrap();
        assert_eq!(sender.process, std::process::id());
        assert_eq!(sender.user, nix::unistd::getuid().as_raw());
        let file = crate::memfile::sealed("x", b"content").unwrap();
        crate::passing::send(client.as_fd(), b"", &[file.as_fd()]).unwrap();
        let got = receive(socket.as_fd(), &mut room).unwrap();
        assert_eq!((got.length, got.cut, got.descriptors.len()), (0, false, 1));
        // Nobody receives there any more: the next one may.
        drop(socket);
        drop(bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
    }
}
