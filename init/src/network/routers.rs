//! Name servers that routers tell of (RFC 8106), each for the time that its router says. Pure but for what it is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::netlink::NameServers;

/// So many are kept: anybody on the cable can tell of more.
const MOST: usize = 8;

/// Those that are known, by card and address, and until when.
#[derive(Debug, Default)]
pub(super) struct Routers(BTreeMap<(u32, Ipv6Addr), Duration>);

impl Routers {
    /// Takes in what a router has told.
    pub(super) fn hear(&mut self, told: &NameServers, now: Duration) {
        self.0.retain(|_, until| *until > now);
        for server in &told.servers {
            // One of this cable alone cannot be asked without its name, for which lists have no place.
            if server.is_unicast_link_local() || server.is_multicast() || server.is_unspecified() {
                continue;
            }
            let key = (told.index, *server);
            if told.lifetime.is_zero() {
                self.0.remove(&key);
            } else if self.0.len() < MOST || self.0.contains_key(&key) {
                self.0.insert(key, now.saturating_add(told.lifetime));
            }
        }
    }

    /// Forgets those of a card.
    pub(super) fn forget(&mut self, index: u32) {
        self.0.retain(|(card, _), _| *card != index);
    }

    /// Those of a card.
    pub(super) fn servers(&self, index: u32, now: Duration) -> impl Iterator<Item = IpAddr> {
        let all = self.0.iter();
        let valid = all.filter(move |((card, _), until)| *card == index && **until > now);
        valid.map(|((_, server), _)| IpAddr::from(*server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(servers: &[&str], lifetime: u64) -> NameServers {
        NameServers {
            index: 2,
            lifetime: Duration::from_secs(lifetime),
            servers: servers.iter().map(|one| one.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn servers_are_known_for_the_time_that_was_told_and_no_more_of_them_than_are_needed() {
        let at = Duration::from_secs;
        let mut routers = Routers::default();
        routers.hear(&told(&["fd00::1", "fe80::1", "ff02::1", "::"], 60), at(0));
        let known = |routers: &Routers, now| routers.servers(2, at(now)).collect::<Vec<_>>();
        let first: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(known(&routers, 59), [first]);
        assert_eq!(known(&routers, 60), [] as [IpAddr; 0]);
        assert_eq!(routers.servers(3, at(0)).count(), 0, "another card");
        routers.hear(&told(&["fd00::1"], 60), at(30));
        assert_eq!(known(&routers, 89), [first], "told again");
        routers.hear(&told(&["fd00::1"], 0), at(31));
        assert_eq!(known(&routers, 31), [] as [IpAddr; 0], "taken back");
        routers.hear(&told(&["fd00::1"], 60), at(31));
        routers.forget(3);
        assert_eq!(known(&routers, 31), [first], "another card's");
        routers.forget(2);
        assert_eq!(known(&routers, 31), [] as [IpAddr; 0]);
        let many: Vec<String> = (1..=20).map(|number| format!("fd00::{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        routers.hear(&told(&many, u64::from(u32::MAX)), at(32));
        assert_eq!(known(&routers, 33).len(), MOST);
    }
}
