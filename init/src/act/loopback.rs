//! The loopback interface, which is the first of every network namespace.

use super::ActError;
use crate::netlink::Netlink;

/// Brings it up.
pub fn up() -> Result<(), ActError> {
    let source = Netlink::open(0).and_then(|mut netlink| netlink.link_up(1));
    source.map_err(|source| ActError::Call {
        attempt: "tell the kernel",
        source,
    })
}
