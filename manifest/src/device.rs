//! Parses `device.yaml` into a [`Device`] and reports all errors at once. The file holds the settings of one appliance
//! that do not belong to its service: host name, network, clock and the minimum sandbox mode.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::fault::{Faults, Kind, Sink, Trail, Wrong, shown};
use crate::keys::{MODE, no};
use crate::node::Node;
use crate::shape::{Shape, TextRule, absent, default};
use crate::types::Mode;
use crate::{domain, typed};

/// The settings of one device. All have defaults; an empty file is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Host name, one label. With `None`, it is `hearth-1A2B`, from the last four digits of the network card's address.
    pub hostname: Option<String>,
    /// Network settings.
    pub network: Network,
    /// Clock settings.
    pub time: Time,
    /// Minimum sandbox mode on this device.
    pub sandbox: Mode,
}

/// Network settings of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Name of the network card. With `None`, the first card with a link is used.
    pub interface: Option<String>,
    /// Source of the IPv4 address.
    pub mode: AddressMode,
    /// The static address, if `mode` is [`AddressMode::Static`].
    pub address: Option<AddressInNetwork>,
    /// The router, for a static address.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers. If the list is not empty, it replaces those from DHCP and router advertisements.
    pub dns: Vec<IpAddr>,
}

/// Source of the IPv4 address. IPv6 addresses come from router advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressMode {
    /// A DHCP server assigns it.
    Dhcp,
    /// `network.address` sets it.
    Static,
}

/// An IPv4 address with the prefix length of its network, printed as `192.168.1.5/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressInNetwork {
    /// Address of the device.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 30.
    pub prefix: u8,
}

/// Clock settings of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// (S)NTP servers, by name or address. With an empty list, the clock is not set.
    pub servers: Vec<String>,
}

impl Default for Device {
    /// The settings of an empty file.
    fn default() -> Device {
        Device {
            hostname: None,
            network: Network {
                interface: None,
                mode: AddressMode::Dhcp,
                address: None,
                gateway: None,
                dns: Vec::new(),
            },
            time: Time {
                servers: vec!["pool.ntp.org".to_owned()],
            },
            sandbox: Mode::Strict,
        }
    }
}

/// Parses the settings. `file` is the file name that the errors show; no file is read. A text that contains only
/// comments yields the defaults.
///
/// # Errors
///
/// Returns all errors at once, like [`crate::parse`].
pub fn parse(file: &str, text: &[u8]) -> Result<Device, Faults> {
    let says_something = |line: &[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#")
    };
    if !text.split(|byte| *byte == b'\n').any(says_something) {
        return Ok(Device::default());
    }
    typed(file, text, &DEVICE, rules).map(|(device, _)| device)
}

/// The keys of `device.yaml`.
pub(crate) static DEVICE: Shape = Shape::Map(&[
    absent(
        "hostname",
        &Shape::Text(&HOSTNAME),
        "`hearth-1A2B`, by the network card's address",
        "Name of the device; on the local network it is found as `NAME.local`.",
    ),
    default("network", &NETWORK, "{}", "How it is reached."),
    default(
        "time",
        &Shape::Map(&[default(
            "servers",
            &Shape::List {
                each: &Shape::Text(&SERVER),
                least: 0,
            },
            "[pool.ntp.org]",
            "Servers that tell the time (SNTP). With an empty list the clock is left alone.",
        )]),
        "{}",
        "Its clock.",
    ),
    default(
        "sandbox",
        &Shape::Text(&MODE),
        "strict",
        "The least that sandboxes enforce: where this and the manifest differ, the stricter holds.",
    ),
]);

static NETWORK: Shape = Shape::Map(&[
    absent(
        "interface",
        &Shape::Text(&INTERFACE),
        "the first with a link",
        "Name of the network card, as the kernel gives it.",
    ),
    default(
        "mode",
        &Shape::Text(&ADDRESS_MODE),
        "dhcp",
        "`dhcp`, or `static` with `address`. IPv6 addresses come from router advertisements.",
    ),
    absent(
        "address",
        &Shape::Text(&ADDRESS),
        "from DHCP",
        "A static IPv4 address with its network's prefix, as `192.168.1.5/24`.",
    ),
    absent(
        "gateway",
        &Shape::Text(&GATEWAY),
        "from DHCP",
        "The router, for a static address; without one, only its own network is reached.",
    ),
    default(
        "dns",
        &Shape::List {
            each: &Shape::Text(&ADDRESS_OF_SERVER),
            least: 0,
        },
        "[]",
        "Name servers, instead of those that DHCP and router advertisements (RDNSS) tell.",
    ),
]);

static HOSTNAME: TextRule = TextRule::new(
    "a host's name",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    |text| match domain::label(text) {
        Ok(()) if !text.contains('_') && !text.ends_with('-') => Ok(text.to_ascii_lowercase()),
        Ok(()) => Err(no("a host's name", text, &"it may hold `a-z 0-9 -`")),
        Err(error) => Err(no("a host's name", text, &error)),
    },
);
static SERVER: TextRule =
    TextRule::new(
        "a name or address",
        r"^[A-Za-z0-9.:\-]+$",
        |text| match text.parse::<IpAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => match text.split('.').try_for_each(domain::label) {
                Ok(()) => Ok(text.to_ascii_lowercase()),
                Err(error) => Err(no("a name or address", text, &error)),
            },
        },
    );
// Linux allows IFNAMSIZ - 1 bytes, no `/`, no white space, and neither `.` nor `..`. This rule is stricter.
static INTERFACE: TextRule = TextRule::new(
    "a network card's name",
    r"^[A-Za-z0-9._\-]{1,15}$",
    |text| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        match text.len() {
            1..=15 if text.bytes().all(known) && !matches!(text, "." | "..") => Ok(text.to_owned()),
            _ => Err(no(
                "a network card's name",
                text,
                &"it has 1 to 15 of `A-Z a-z 0-9 . _ -`",
            )),
        }
    },
);
static ADDRESS_MODE: TextRule = TextRule::new("a mode", "^(dhcp|static)$", |text| match text {
    "dhcp" | "static" => Ok(text.to_owned()),
    _ => Err(no("a mode", text, &"it is `dhcp` or `static`")),
});
static ADDRESS: TextRule = TextRule::new(
    "an address with its prefix",
    r"^[0-9.]+/[0-9]{1,2}$",
    |text| AddressInNetwork::read(text).map(String::from),
);
static GATEWAY: TextRule = TextRule::new("an IPv4 address", r"^[0-9.]+$", |text| {
    match text.parse::<Ipv4Addr>() {
        Ok(address) if is_of_a_host(address) => Ok(address.to_string()),
        _ => Err(no(
            "an IPv4 address of a host",
            text,
            &"write it as `192.168.1.1`",
        )),
    }
});
static ADDRESS_OF_SERVER: TextRule = TextRule::new("an IP address", r"^[0-9A-Fa-f.:]+$", |text| {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => Ok(address.to_string()),
        _ => Err(no(
            "an IP address",
            text,
            &"a name cannot be looked up before its server is known",
        )),
    }
});

impl AddressInNetwork {
    fn read(text: &str) -> Result<AddressInNetwork, Wrong> {
        let wrong = |why: &str| no("an address with its prefix", text, &why);
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(wrong("the prefix is missing").hint(format!("write `{}/24`", shown(text))));
        };
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| wrong("write it as `192.168.1.5/24`"))?;
        let prefix = match prefix.parse() {
            Ok(prefix @ 1..=30) => prefix,
            _ => return Err(wrong("the prefix is 1 to 30")),
        };
        let host = u32::from(address) & (u32::MAX >> prefix);
        if !is_of_a_host(address) || host == 0 || host == u32::MAX >> prefix {
            return Err(wrong("no host has it"));
        }
        Ok(AddressInNetwork { address, prefix })
    }

    /// Whether `other` is in the same network.
    pub fn holds(&self, other: Ipv4Addr) -> bool {
        (u32::from(self.address) ^ u32::from(other)) >> (32 - self.prefix) == 0
    }
}

impl From<AddressInNetwork> for String {
    fn from(from: AddressInNetwork) -> String {
        format!("{}/{}", from.address, from.prefix)
    }
}

impl TryFrom<String> for AddressInNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<AddressInNetwork, String> {
        AddressInNetwork::read(&text).map_err(|wrong| wrong.message)
    }
}

/// Whether a host can have this address: not a loopback, multicast, broadcast or reserved address.
fn is_of_a_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !matches!(first, 0 | 127 | 224..)
}

/// Checks the rules between the keys of `network`.
fn rules(root: &Node, faults: &mut Sink<'_>, _: &mut Sink<'_>) {
    let Some(network) = root.key("network") else {
        return;
    };
    let trail = Trail::Key(&Trail::Top, "network");
    let (mode, address) = (network.key("mode"), network.key("address"));
    let router = network.key("gateway");
    if mode.and_then(Node::text) == Some("static") {
        match address {
            None => {
                let wrong = Wrong::new("`mode: static` wants an address");
                let hint = "give `address`, as `192.168.1.5/24`";
                faults.put(network.at, &trail, Kind::Conflict, wrong.hint(hint));
            }
            Some(address) => {
                let inside = address
                    .text()
                    .and_then(|text| AddressInNetwork::read(text).ok());
                let gateway = router
                    .and_then(Node::text)
                    .and_then(|text| text.parse().ok());
                if let (Some(inside), Some(gateway), Some(node)) = (inside, gateway, router)
                    && (!inside.holds(gateway) || inside.address == gateway)
                {
                    let wrong = Wrong::new(format!(
                        "`{gateway}` is no neighbour in the network of `{}`",
                        String::from(inside)
                    ));
                    faults.put(
                        node.at,
                        &Trail::Key(&trail, "gateway"),
                        Kind::Conflict,
                        wrong,
                    );
                }
            }
        }
        return;
    }
    for (name, node) in [("address", address), ("gateway", router)] {
        if let Some(node) = node {
            let wrong = Wrong::new(format!("`{name}` has no meaning with `mode: dhcp`"));
            let hint = format!("add `mode: static`, or leave `{name}` out");
            faults.put(
                node.at,
                &Trail::Key(&trail, name),
                Kind::Conflict,
                wrong.hint(hint),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, expect: &str) {
        let faults = parse("device.yaml", text.as_bytes()).unwrap_err();
        assert_eq!(faults.to_string(), expect.trim());
    }

    #[test]
    fn an_empty_file_is_one_of_defaults() {
        for text in ["", "\n", "# hostname: kitchen\n  # none\n", "network: {}\n"] {
            let device = parse("device.yaml", text.as_bytes()).unwrap();
            assert_eq!(device, Device::default(), "{text:?}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "hostname: Kitchen\n\
            network: { interface: eth0, mode: static, address: 192.168.1.5/24, gateway: 192.168.1.1, \
            dns: [9.9.9.9, '2620:fe::fe'] }\n\
            time: { servers: [ntp.example.com, 10.0.0.1] }\n\
            sandbox: best-effort\n";
        let device = parse("device.yaml", text.as_bytes()).unwrap();
        assert_eq!(device.hostname.as_deref(), Some("kitchen"));
        assert_eq!(device.network.mode, AddressMode::Static);
        let address = device.network.address.unwrap();
        assert_eq!(
            (address.address, address.prefix),
            ([192, 168, 1, 5].into(), 24)
        );
        assert_eq!(device.network.gateway, Some([192, 168, 1, 1].into()));
        assert_eq!(device.network.dns.len(), 2);
        assert_eq!(device.time.servers, ["ntp.example.com", "10.0.0.1"]);
        assert_eq!(device.sandbox, Mode::BestEffort);
    }

    #[test]
    fn faults_name_their_places_and_the_fix() {
        refused(
            "hostnme: a\nnetwork:\n  mode: static\nsandbox: lax\n",
            r#"
device.yaml:1:1: unknown key `hostnme`, did you mean `hostname`?
device.yaml:3:3: network: `mode: static` wants an address; give `address`, as `192.168.1.5/24`
device.yaml:4:10: sandbox: `lax` is not a mode: it is `strict` or `best-effort`
"#,
        );
        refused(
            "network: { address: 192.168.1.5 }",
            r#"
device.yaml:1:21: network.address: `address` has no meaning with `mode: dhcp`; add `mode: static`, or leave `address` out
device.yaml:1:21: network.address: `192.168.1.5` is not an address with its prefix: the prefix is missing; write `192.168.1.5/24`
"#,
        );
        refused(
            "network: { mode: static, address: 10.0.0.255/24, dns: [dns.example.com] }\nhostname: my_box",
            r#"
device.yaml:1:35: network.address: `10.0.0.255/24` is not an address with its prefix: no host has it
device.yaml:1:56: network.dns[0]: `dns.example.com` is not an IP address: a name cannot be looked up before its server is known
device.yaml:2:11: hostname: `my_box` is not a host's name: `_` may only begin a label
"#,
        );
        refused(
            "network: { mode: static, address: 10.0.0.5/24, gateway: 10.0.1.1 }",
            "device.yaml:1:57: network.gateway: `10.0.1.1` is no neighbour in the network of `10.0.0.5/24`",
        );
    }
}
