//! What others read of the network: `net.json`, and the list of name servers. Each is replaced as a whole.

use std::fs;
use std::io;
use std::net::IpAddr;

use serde_json::json;

use crate::place::{NET_RECORD, RESOLV};

/// What is told of a clock that servers have set.
pub(super) const SYNCHRONISED: &str = "synchronised";

/// The network as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) interface: Option<String>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) hostname: String,
    pub(super) mdns: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) dns: Vec<IpAddr>,
    pub(super) synchronised: bool,
}

impl Record {
    fn to_json(&self) -> String {
        let mac = self
            .mac
            .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        let clock = if self.synchronised {
            SYNCHRONISED
        } else {
            "unset"
        };
        let json = json!({
            "interface": self.interface,
            "mac": mac,
            "hostname": self.hostname,
            "mdns": self.mdns,
            "addresses": self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "gateway": self.gateway.map(|one| one.to_string()),
            "dns": self.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "clock": clock,
        });
        format!("{json}\n")
    }

    /// As resolv.conf(5) has it, which reads three at most.
    fn to_resolv(&self) -> String {
        let servers = self.dns.iter().take(3);
        let lines = servers.map(|server| format!("nameserver {server}\n"));
        lines.collect::<String>() + "options timeout:2 attempts:2\n"
    }

    /// Writes both.
    pub(super) fn write(&self) -> io::Result<()> {
        replace(RESOLV, &self.to_resolv())?;
        replace(NET_RECORD, &self.to_json())
    }
}

/// In memory there is no power to be cut: what is written is there.
pub(super) fn replace(path: &str, content: &str) -> io::Result<()> {
    let beside = format!("{path}.new");
    fs::write(&beside, content)?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_others_read() {
        let record = Record {
            interface: Some("eth0".to_owned()),
            mac: Some([2, 0, 0, 0, 0xa, 0xff]),
            hostname: "kitchen".to_owned(),
            mdns: Some("kitchen.local".to_owned()),
            addresses: vec![[10, 0, 2, 15].into(), "fd00::5".parse().unwrap()],
            gateway: Some([10, 0, 2, 2].into()),
            dns: vec![[10, 0, 2, 3].into()],
            synchronised: true,
        };
        assert_eq!(
            record.to_json(),
            "{\"addresses\":[\"10.0.2.15\",\"fd00::5\"],\"clock\":\"synchronised\",\"dns\":[\"10.0.2.3\"],\
             \"gateway\":\"10.0.2.2\",\"hostname\":\"kitchen\",\"interface\":\"eth0\",\
             \"mac\":\"02:00:00:00:0a:ff\",\"mdns\":\"kitchen.local\"}\n"
        );
        assert_eq!(
            record.to_resolv(),
            "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n"
        );
        let read = crate::summary::Network::read(&record.to_json());
        assert_eq!(read.addresses, ["10.0.2.15", "[fd00::5]"]);
        assert!(read.synchronised);
    }
}
