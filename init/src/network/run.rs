//! The one runner: watches interfaces, carries out what settings and leases say, and tells others.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use hearth_manifest::device::{self, AddressMode, Device};
use hearth_sys::wait::{Waiting, wait};

use super::confine::confine;
use super::lease::{Given, Lease};
use super::names::Names;
use super::record::Record;
use super::routers::Routers;
use super::time::{self, Span};
use super::wire::Wire;
use crate::act::{chain, text};
use crate::facts::Release;
use crate::netlink::{ADDRESSES_4, ADDRESSES_6, LINKS, Link, Netlink, ROUTERS};
use crate::place::{NET_RECORD, RELEASE, SETTINGS};

/// What the time servers are where the settings leave them as they are, and DHCP may tell nearer ones.
const PUBLIC: &str = "pool.ntp.org";

/// Whatever happens, everything is looked at so often.
const TURN: Duration = Duration::from_secs(60);

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
    let follows = Path::new(NET_RECORD).exists();
    let mut netlink = Netlink::open(LINKS | ADDRESSES_4 | ADDRESSES_6)?;
    // Before any card is up: what routers say then is said once.
    let heard = Netlink::open(ROUTERS)?;
    let mut record = Record::default();
    let card = wait_for_card(&mut netlink, &settings, &mut record)?;
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
    let synchronised = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&synchronised);
    let clock = std::thread::Builder::new().name("clock".to_owned());
    clock.spawn(move || time::keep(&new_servers, &shared, &told, Span::of(built)))?;
    let mut network = Network {
        settings,
        netlink,
        heard,
        routers: Routers::default(),
        begun: Instant::now(),
        up: None,
        client: None,
        follows,
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

fn is_card(link: &Link) -> bool {
    // What cells and bridges make is not there yet, and never is the way out.
    link.mac.is_some() && !link.name.starts_with("veth")
}

/// Brings every network card up, to see whether there is a cable; all of them listen to routers until one is
/// chosen, since the kernel asks for one only when a card comes up.
fn bring_up(netlink: &mut Netlink, links: &[Link]) {
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
fn listens(name: &str) -> bool {
    text(of_ipv6(name, "accept_ra"), 16).is_none_or(|value| value.trim() != "0")
}

/// Begins IPv6 anew on a card: what it has learnt is forgotten, and it asks for routers if it shall listen to them.
fn begin_ipv6(name: &str, listen: bool) {
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
fn wait_for_card(
    netlink: &mut Netlink,
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
        let mut set = [Waiting::read(netlink.as_fd())];
        wait(&mut set, Some(TURN))?;
        netlink.drain();
    }
}

/// The card that is used.
struct Up {
    link: Link,
    /// Its address comes of the DHCP client.
    leased: bool,
    /// What it has of us.
    given: Given,
    /// Its address is of whoever saw to the network before, and is kept until then unless a server gives it again.
    adopted_until: Option<Duration>,
}

/// How long an address that was found is kept without a word of a server.
const ADOPTED: Duration = Duration::from_secs(60);

struct Network {
    settings: Device,
    netlink: Netlink,
    /// What routers say is heard here.
    heard: Netlink,
    routers: Routers,
    begun: Instant,
    up: Option<Up>,
    /// The DHCP client, once there was a card that wants one.
    client: Option<Lease<Wire>>,
    /// No card was used yet, but somebody used one before this process.
    follows: bool,
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
        let now = self.begun.elapsed();
        for told in self.heard.name_servers() {
            self.routers.hear(&told, now);
        }
        self.tell()?;
        let now = self.begun.elapsed();
        let leased = self.up.as_ref().is_some_and(|up| up.leased);
        let (delay, wire) = match self.client.as_mut().filter(|_| leased) {
            Some(client) => (client.delay(now), Some(&client.device)),
            None => (None, None),
        };
        let delay = delay.unwrap_or(TURN).min(TURN);
        let mut set = vec![
            Waiting::read(self.netlink.as_fd()),
            Waiting::read(self.heard.as_fd()),
            Waiting::read(self.woken.as_fd()),
        ];
        set.extend(wire.map(|wire| Waiting::read(wire.as_fd())));
        wait(&mut set, Some(delay))?;
        self.netlink.drain();
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
        cards.sort_by_key(|link| (Some(link.index) != used, link.index));
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
        if std::mem::take(&mut self.follows) || !listens(&link.name) {
            begin_ipv6(&link.name, true);
        }
        say(&format!("{} has a cable", link.name));
        self.up = Some(self.begin(link, links)?);
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
        self.adopt(&mut up, links)?;
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
                let (seed, now) = (u64::from_ne_bytes(seed), self.begun.elapsed());
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

    /// Takes over what whoever saw to the network before has left: an address of this card, for a while. All
    /// others go.
    fn adopt(&mut self, up: &mut Up, links: &[Link]) -> io::Result<()> {
        let cards: Vec<u32> = links
            .iter()
            .filter(|link| is_card(link))
            .map(|link| link.index)
            .collect();
        for held in self.netlink.addresses()? {
            let IpAddr::V4(address) = held.address else {
                continue;
            };
            if !cards.contains(&held.index) {
                continue;
            }
            if held.index == up.link.index && up.given.address.is_none() {
                up.given.address = Some((address, held.prefix));
                up.adopted_until = Some(self.begun.elapsed() + ADOPTED);
                continue;
            }
            self.netlink
                .remove_address(held.index, address, held.prefix)?;
            say(&format!("{address}/{} was left over: removed", held.prefix));
        }
        Ok(())
    }

    /// Lets the DHCP client do what is due.
    fn lease(&mut self) {
        let Some(mut up) = self.up.take_if(|up| up.leased) else {
            return;
        };
        let now = self.begun.elapsed();
        let news = self.client.as_mut().and_then(|client| client.poll(now));
        if let Some(given) = news {
            self.take(&mut up, given);
        } else if up.adopted_until.is_some_and(|until| until <= now) {
            self.take(&mut up, Given::default());
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
        let of_routers = self
            .routers
            .servers(index.unwrap_or(0), self.begun.elapsed());
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
                servers.extend(near.iter().map(ToString::to_string));
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
