//! The manifest's notation for listen addresses: `127.0.0.1:8080`, `[::]:443`, `:8080`, `off`.
//!
//! This module also decides whether two addresses collide. It binds no address and resolves no names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serializer};

use crate::fault::{Wrong, shown};

/// The manifest's name for a listener that is not opened.
const OFF: &str = "off";

/// Regular expression for the schema. It approximates the texts that `parse` accepts.
pub(crate) const PATTERN: &str = r"^(off|[0-9.]*:[0-9]{1,5}|\[[0-9A-Fa-f:.%]+\]:[0-9]{1,5})$";

/// Parses an address. `off` becomes `None`; a port without an address means all addresses of both families.
pub(crate) fn parse(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == OFF {
        return Ok(None);
    }
    if let Some(port) = text.strip_prefix(':')
        && port.bytes().all(|b| b.is_ascii_digit())
        && let Ok(port) = port.parse()
    {
        return Ok(Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)));
    }
    text.parse().map(Some).map_err(|_| {
        Wrong::new(format!("`{}` is not an address to listen on", shown(text)))
            .hint("write an IP address and a port, as `127.0.0.1:8080`, `:8080` for every address, or `off`")
    })
}

/// Formats an address in the notation that `parse` accepts.
pub(crate) fn print(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| OFF.to_owned(), |address| address.to_string())
}

/// Whether two listeners need the same port of the same address. Port 0 never collides, because the kernel chooses the
/// port. `[::]` serves both families.
pub(crate) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| match a {
        IpAddr::V6(all) => all.is_unspecified(),
        IpAddr::V4(all) => all.is_unspecified() && b.is_ipv4(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(
    address: &Option<SocketAddr>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(*address))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|wrong| serde::de::Error::custom(wrong.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_read() {
        let check = |text: &str, printed: &str| {
            let address = parse(text).unwrap();
            assert_eq!(print(address), printed);
            assert_eq!(parse(printed).unwrap(), address);
        };
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check(":8080", "[::]:8080");
        check("[::]:443", "[::]:443");
        check("[::1]:0", "[::1]:0");
        check("off", "off");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "8080",
            ":",
            ":x",
            ":+1",
            ":99999",
            "localhost:80",
            "127.0.0.1",
            "::1:80",
            "http://[::]:80",
            "OFF",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listeners_collide_where_a_bind_would_fail() {
        let check = |a: &str, b: &str, expect: bool| {
            let [a, b] = [a, b].map(|text| parse(text).unwrap().unwrap());
            assert_eq!((collide(a, b), collide(b, a)), (expect, expect), "{a} {b}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "[::1]:80", false);
        check("[::]:80", "127.0.0.1:80", true);
        check("[::]:80", "[::1]:80", true);
        check(":0", ":0", false);
    }
}
