//! Network cards: which of the interfaces are some, that they are up, and what IPv6 does on them.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use hearth_manifest::device::Device;
use hearth_sys::wait::{Waiting, wait};

use super::record::Record;
use super::run::{TURN, say};
use crate::act::text;
use crate::netlink::{Link, Netlink};

/// Whether it is a network card: what cells and bridges make is none.
pub(super) fn is_card(link: &Link) -> bool {
    // What cells and bridges make is not there yet, and never is the way out.
    link.mac.is_some() && !link.name.starts_with("veth")
}

/// Brings every network card up, to see whether there is a cable; all of them listen to routers until one is
/// chosen, since the kernel asks for one only when a card comes up.
pub(super) fn bring_up(netlink: &mut Netlink, links: &[Link]) {
    for link in links.iter().filter(|link| is_card(link)) {
        if !listens(&link.name) {
            begin_ipv6(&link.name, true);
        }
        if let Err(error) = netlink.link_up(link.index) {
            say(&format!("cannot bring {} up: {error}", link.name));
        }
    }
}

fn of_ipv6(name: &str, what: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{name}/{what}")
}

/// Whether a card has an ear for routers.
pub(super) fn listens(name: &str) -> bool {
    text(of_ipv6(name, "accept_ra"), 16).is_none_or(|value| value.trim() != "0")
}

/// Begins IPv6 anew on a card: what it has learnt is forgotten, and it asks for routers if it shall listen to them.
pub(super) fn begin_ipv6(name: &str, listen: bool) {
    let listen = if listen { "1" } else { "0" };
    for (what, value) in [
        ("accept_ra", listen),
        ("disable_ipv6", "1"),
        ("disable_ipv6", "0"),
    ] {
        // Without IPv6 in the kernel, or without the card, there is no such file.
        let _ = fs::write(of_ipv6(name, what), value);
    }
}

/// Waits until there is a card: the machine's name comes of it.
pub(super) fn wait_for_card(
    netlink: &mut Netlink,
    changes: &mut Netlink,
    settings: &Device,
    record: &mut Record,
) -> io::Result<Link> {
    loop {
        let links = netlink.links()?;
        let wanted = settings.network.interface.as_deref();
        let mut cards = links.iter().filter(|link| is_card(link));
        if let Some(card) = cards.find(|link| wanted.is_none_or(|name| link.name == name)) {
            return Ok(card.clone());
        }
        record.hostname = settings
            .hostname
            .clone()
            .unwrap_or_else(|| "hearth".to_owned());
        record.write()?;
        let mut set = [Waiting::read(changes.as_fd())];
        wait(&mut set, Some(TURN))?;
        changes.drain();
    }
}
