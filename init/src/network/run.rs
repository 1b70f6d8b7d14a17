//! The one runner: watches interfaces, carries out what settings and leases say, and tells others.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use hearth_manifest::device::{self, AddressMode, Device};
use hearth_sys::wait::{Waiting, wait};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::cards::{begin_ipv6, bring_up, is_card, listens, wait_for_card};
use super::confine::confine;
use super::kept::Kept;
use super::lease::{Given, Lease};
use super::names::Names;
use super::record::{Record, SYNCHRONISED};
use super::routers::Routers;
use super::time::{self, Span, Trust};
use super::wire::Wire;
use crate::act::{chain, text};
use crate::facts::Release;
use crate::netlink::{ADDRESSES_4, ADDRESSES_6, LINKS, Link, Netlink, ROUTERS};
use crate::place::{NET_RECORD, RELEASE, SETTINGS};

/// What the time servers are where the settings leave them as they are, and DHCP may tell nearer ones.
const PUBLIC: &str = "pool.ntp.org";

/// So many of those are asked.
const NEAR: usize = 3;

/// Whatever happens, everything is looked at so often.
pub(super) const TURN: Duration = Duration::from_secs(60);

/// Says a line to whoever started this.
#[expect(clippy::print_stderr, reason = "init reads it, for the kernel's log")]
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}

/// Whether a file's settings are valid; else the faults, for people.
///
/// # Errors
/// All faults, or why the file cannot be read.
pub fn check(path: &str) -> Result<(), String> {
    let content = fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    device::parse(path, &content)
        .map(drop)
        .map_err(|faults| faults.to_string())
}

/// Sees to the network until it is ended.
///
/// # Errors
/// What it cannot go on without.
pub fn run() -> io::Result<()> {
    let settings = settings();
    // Whoever saw to the network before this has left its record, or this is the first.
    let before: Value = text(NET_RECORD, 64 * 1024)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut netlink = Netlink::open(0)?;
    // A socket of its own, or an answer that is waited for would hide a change.
    let mut changes = Netlink::open(LINKS | ADDRESSES_4 | ADDRESSES_6)?;
    // Before any card is up: what routers say then is said once.
    let heard = Netlink::open(ROUTERS)?;
    // The clock goes on, whoever has set it.
    let set = before["clock"] == SYNCHRONISED;
    let mut record = Record {
        synchronised: set,
        ..Record::default()
    };
    let card = wait_for_card(&mut netlink, &mut changes, &settings, &mut record)?;
    let digits = card.mac.map(|mac| format!("{:02x}{:02x}", mac[4], mac[5]));
    let named = settings.hostname.clone();
    record.hostname = named.unwrap_or_else(|| format!("hearth-{}", digits.unwrap_or_default()));
    nix::unistd::sethostname(&record.hostname)?;
    let built = text(RELEASE, 4096).map_or(0, |text| Release::read(&text).built);
    if let Err(error) = confine() {
        say(&format!(
            "goes on with more than it needs: {}",
            chain(&*error)
        ));
    }
    let (servers, new_servers) = channel();
    let (woken, told) = UnixStream::pair()?;
    woken.set_nonblocking(true)?;
    told.set_nonblocking(true)?;
    let synchronised = Arc::new(AtomicBool::new(set));
    let held = if set { Trust::Two } else { Trust::None };
    let shared = Arc::clone(&synchronised);
    let clock = std::thread::Builder::new().name("clock".to_owned());
    clock.spawn(move || time::keep(&new_servers, held, &shared, &told, Span::of(built)))?;
    let mut network = Network {
        settings,
        netlink,
        changes,
        heard,
        routers: Routers::default(),
        up: None,
        client: None,
        before: before["interface"].as_str().map(str::to_owned),
        names: None,
        servers,
        asked: Vec::new(),
        woken,
        synchronised,
        told: None,
        record,
    };
    loop {
        network.turn()?;
    }
}

fn settings() -> Device {
    let content = fs::read(SETTINGS).unwrap_or_default();
    device::parse(SETTINGS, &content).unwrap_or_else(|faults| {
        // Init has checked them; whoever changed them since is told.
        say(&faults.to_string());
        Device::default()
    })
}

/// Since the machine was started: a successor counts on.
fn now() -> Duration {
    // There is such a clock.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The card that is used.
struct Up {
    link: Link,
    /// Its address comes of the DHCP client.
    leased: bool,
    /// What it has of us.
    given: Given,
    /// That was given to whoever saw to the network before, and holds until then, unless a server says otherwise.
    adopted_until: Option<Duration>,
}

struct Network {
    settings: Device,
    /// Asks and changes.
    netlink: Netlink,
    /// Tells that something has changed.
    changes: Netlink,
    /// What routers say is heard here.
    heard: Netlink,
    routers: Routers,
    up: Option<Up>,
    /// The DHCP client, once there was a card that wants one.
    client: Option<Lease<Wire>>,
    /// Until one is chosen: the card that was used by whoever saw to the network before.
    before: Option<String>,
    names: Option<Names>,
    /// To the clock's thread, ...
    servers: Sender<Vec<String>>,
    /// ... and what went there last.
    asked: Vec<String>,
    /// The clock's thread has something to tell.
    woken: UnixStream,
    synchronised: Arc<AtomicBool>,
    told: Option<Record>,
    record: Record,
}

impl Network {
    fn turn(&mut self) -> io::Result<()> {
        let links = self.netlink.links()?;
        self.choose(&links)?;
        self.lease();
        for told in self.heard.name_servers() {
            self.routers.hear(&told, now());
        }
        self.tell()?;
        let leased = self.up.as_ref().is_some_and(|up| up.leased);
        let (delay, wire) = match self.client.as_mut().filter(|_| leased) {
            Some(client) => (client.delay(now()), Some(&client.device)),
            None => (None, None),
        };
        let delay = delay.unwrap_or(TURN).min(TURN);
        let mut set = vec![
            Waiting::read(self.changes.as_fd()),
            Waiting::read(self.heard.as_fd()),
            Waiting::read(self.woken.as_fd()),
        ];
        set.extend(wire.map(|wire| Waiting::read(wire.as_fd())));
        wait(&mut set, Some(delay))?;
        self.changes.drain();
        // What is in it says only that there is something.
        let _ = (&self.woken).read(&mut [0; 16]);
        Ok(())
    }

    /// The card with a cable: the one in use, if it still has one.
    fn choose(&mut self, links: &[Link]) -> io::Result<()> {
        let wanted = self.settings.network.interface.as_deref();
        let fits = |link: &&Link| is_card(link) && wanted.is_none_or(|name| link.name == name);
        let used = self.up.as_ref().map(|up| up.link.index);
        let mut cards: Vec<&Link> = links.iter().filter(fits).collect();
        let before = self.before.as_deref();
        cards.sort_by_key(|link| {
            let used = Some(link.index) == used || Some(link.name.as_str()) == before;
            (!used, link.index)
        });
        let with_cable = cards.into_iter().find(|link| link.carrier);
        if let Some(mut up) = self.up.take() {
            match with_cable {
                Some(link) if link.index == up.link.index => {
                    self.up = Some(up);
                    return Ok(());
                }
                _ => {
                    say(&format!("{} has lost its cable", up.link.name));
                    self.forget(&mut up);
                }
            }
        }
        let Some(link) = with_cable else {
            // What was given was given for another cable.
            Kept::forget();
            // A card that came late, or went down.
            bring_up(&mut self.netlink, links);
            return Ok(());
        };
        for other in links.iter().filter(|other| is_card(other)) {
            if other.index != link.index && listens(&other.name) {
                begin_ipv6(&other.name, false);
            }
        }
        // A card that has just come up has asked already.
        if self.before.take().is_some() || !listens(&link.name) {
            begin_ipv6(&link.name, true);
        }
        say(&format!("{} has a cable", link.name));
        match self.begin(link, links) {
            Ok(up) => self.up = Some(up),
            // It may have been pulled out meanwhile.
            Err(error) => say(&format!("cannot use {}: {error}", link.name)),
        }
        Ok(())
    }

    /// Begins to use a card.
    fn begin(&mut self, link: &Link, links: &[Link]) -> io::Result<Up> {
        let mut up = Up {
            link: link.clone(),
            leased: false,
            given: Given::default(),
            adopted_until: None,
        };
        let network = &self.settings.network;
        let own = match network.mode {
            AddressMode::Static => network.address.map(|held| (held.address, held.prefix)),
            AddressMode::Dhcp => None,
        };
        self.adopt(&mut up, own, links)?;
        let network = &self.settings.network;
        match (network.mode, network.address) {
            (AddressMode::Static, Some(held)) => {
                let given = Given {
                    address: Some((held.address, held.prefix)),
                    router: network.gateway,
                    ..Given::default()
                };
                self.take(&mut up, given);
            }
            (AddressMode::Static, None) | (AddressMode::Dhcp, _) => {
                let mut seed = [0; 8];
                fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
                let (seed, now) = (u64::from_ne_bytes(seed), now());
                let (wire, mac) = (Wire::open(link.index)?, link.mac.unwrap_or_default());
                match &mut self.client {
                    Some(client) => client.move_to(wire, mac, seed, now),
                    None => {
                        let name = &self.record.hostname;
                        self.client = Some(Lease::new(wire, mac, name, seed, now));
                    }
                }
                up.leased = true;
            }
        }
        Ok(up)
    }

    /// Takes over what a server has given to whoever saw to the network before. All other addresses of cards go, but
    /// for `own`.
    fn adopt(
        &mut self,
        up: &mut Up,
        own: Option<(Ipv4Addr, u8)>,
        links: &[Link],
    ) -> io::Result<()> {
        let holds = |kept: &Kept| kept.interface == up.link.index && kept.until > now();
        let kept = Kept::read().filter(|kept| own.is_none() && holds(kept));
        let stays = kept.as_ref().map_or(own, |kept| kept.given.address);
        let cards = links.iter().filter(|link| is_card(link));
        let cards: Vec<u32> = cards.map(|link| link.index).collect();
        for held in self.netlink.addresses()? {
            let IpAddr::V4(address) = held.address else {
                continue;
            };
            if !cards.contains(&held.index) {
                continue;
            }
            if held.index != up.link.index || stays != Some((address, held.prefix)) {
                self.netlink
                    .remove_address(held.index, address, held.prefix)?;
                say(&format!("{address}/{} was left over: removed", held.prefix));
            } else if let Some(kept) = &kept {
                up.given = kept.given.clone();
                up.adopted_until = Some(kept.until);
            }
        }
        Ok(())
    }

    /// Lets the DHCP client do what is due.
    fn lease(&mut self) {
        let Some(client) = &mut self.client else {
            return;
        };
        let Some(mut up) = self.up.take_if(|up| up.leased) else {
            return;
        };
        let (now, before) = (now(), client.until);
        let news = client.poll(now);
        let until = client.until;
        let renewed = until != before;
        match news {
            Some(given) => self.take(&mut up, given),
            // It is that of before, and not given again.
            None if up.adopted_until.is_some_and(|until| until <= now) => {
                self.take(&mut up, Given::default());
            }
            None => {}
        }
        if renewed {
            let kept = Kept {
                interface: up.link.index,
                given: up.given.clone(),
                until,
            };
            if let Err(error) = kept.write() {
                say(&format!("the lease is not kept for a successor: {error}"));
            }
        }
        self.up = Some(up);
    }

    /// Gives the card what was given to us, instead of what it has.
    fn take(&mut self, up: &mut Up, given: Given) {
        let index = up.link.index;
        if let Some((address, prefix)) = up.given.address
            && given.address != up.given.address
        {
            let _ = self.netlink.remove_address(index, address, prefix);
            say(&format!("{address}/{prefix} is not ours any more"));
        }
        if let Some((address, prefix)) = given.address {
            let set = self.netlink.add_address(index, address, prefix);
            let set = set.and_then(|()| match given.router {
                Some(router) => self.netlink.set_router(index, router),
                None => self.netlink.remove_router(index),
            });
            match set {
                Ok(()) => say(&format!("{address}/{prefix} on {}", up.link.name)),
                Err(error) => say(&format!("cannot use {address}/{prefix}: {error}")),
            }
        }
        up.given = given;
        up.adopted_until = None;
    }

    /// Stops using a card: nothing of it is left.
    fn forget(&mut self, up: &mut Up) {
        self.take(up, Given::default());
        Kept::forget();
        begin_ipv6(&up.link.name, true);
        self.routers.forget(up.link.index);
        self.names = None;
    }

    /// Tells everybody what has changed.
    fn tell(&mut self) -> io::Result<()> {
        let index = self.up.as_ref().map(|up| up.link.index);
        let held = self.netlink.addresses()?;
        let mut addresses: Vec<IpAddr> = held
            .into_iter()
            .filter(|one| one.usable && Some(one.index) == index)
            .map(|one| one.address)
            .collect();
        // IPv4 first, which people can read.
        addresses.sort();
        let given = self.up.as_ref().map(|up| up.given.clone());
        let given = given.unwrap_or_default();
        if let (Some(up), None, false) = (&self.up, &self.names, addresses.is_empty()) {
            match Names::say(&self.record.hostname, &up.link.name) {
                Ok(names) => self.names = Some(names),
                Err(error) => say(&format!("the name is not told to others: {error}")),
            }
        }
        if addresses.is_empty() {
            self.names = None;
        }
        self.ask_for_time(&given.time, !addresses.is_empty());
        let of_settings = &self.settings.network.dns;
        let of_routers = self.routers.servers(index.unwrap_or(0), now());
        let record = Record {
            interface: self.up.as_ref().map(|up| up.link.name.clone()),
            mac: self.up.as_ref().and_then(|up| up.link.mac),
            hostname: self.record.hostname.clone(),
            mdns: self.names.as_mut().map(|names| names.name().to_owned()),
            addresses,
            gateway: given.router.map(IpAddr::from),
            dns: match of_settings.is_empty() {
                true => {
                    let of_lease = given.dns.into_iter().map(IpAddr::from);
                    of_lease.chain(of_routers).collect()
                }
                false => of_settings.clone(),
            },
            synchronised: self.synchronised.load(Ordering::Relaxed),
        };
        if self.told.as_ref() != Some(&record) {
            record.write()?;
            // Only now, since init looks at the record when it hears something.
            let reached: Vec<String> = record.addresses.iter().map(IpAddr::to_string).collect();
            say(&format!("reached at: {}", reached.join(" ")));
            self.told = Some(record);
        }
        Ok(())
    }

    /// Tells the clock's thread whom to ask.
    fn ask_for_time(&mut self, near: &[Ipv4Addr], reachable: bool) {
        let set = &self.settings.time.servers;
        let mut servers = Vec::new();
        if reachable {
            // Those of the network itself know the way, where nobody has chosen others.
            if set.as_slice() == [PUBLIC] {
                servers.extend(near.iter().take(NEAR).map(ToString::to_string));
            }
            servers.extend(set.iter().cloned());
        }
        if servers != self.asked {
            self.asked = servers.clone();
            // Without its thread the clock stays as it is.
            let _ = self.servers.send(servers);
        }
    }
}
