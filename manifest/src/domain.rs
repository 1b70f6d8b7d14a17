//! Domains of functions and certificates: their syntax, printed form and matching.
//!
//! This module works on text only: it resolves no names and uses no public suffix list.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::types::Domain;

/// Regular expression for the schema. It approximates the texts that `FromStr` accepts.
pub(crate) const PATTERN: &str = concat!(
    r"^((\*\.)?([A-Za-z0-9_]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*",
    r"[A-Za-z0-9_]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])$",
);

/// Maximum length of a name and of a label, in characters (RFC 1035, 2.3.4, without the root's dot).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The reason why a text is not a valid domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// An empty text, or only a dot.
    #[error("it is empty")]
    Empty,
    /// A scheme: `https://example.com`.
    #[error("write it without a scheme")]
    Scheme,
    /// A path: `example.com/items`.
    #[error("write it without a path")]
    Path,
    /// A port: `example.com:8443`.
    #[error("write it without a port")]
    Port,
    /// Brackets without a valid IPv6 address: `[::1`, `[example.com]`.
    #[error("what stands in brackets is not an IPv6 address")]
    Bracket,
    /// `*`. To serve every host, a function has no `domains`.
    #[error("`*` needs a domain behind it; leave `domains` out for any host")]
    BareWildcard,
    /// `*` that is not the whole first label of a name: `a.*.example.com`, `*a.example.com`, `*.127.0.0.1`.
    #[error("`*` may only be the whole first label of a name")]
    Wildcard,
    /// An empty label: `a..example.com`, `.example.com`.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label of more than 63 characters.
    #[error("a label is longer than {LONGEST_LABEL} characters")]
    LongLabel,
    /// A name of more than 253 characters.
    #[error("it is longer than {LONGEST_NAME} characters")]
    Long,
    /// A label that begins or ends with a hyphen: `-a.example.com`.
    #[error("a label begins or ends with `-`")]
    Hyphen,
    /// `a_b.example.com`. Only service names such as `_dmarc` have an underscore, as the first character of a label.
    #[error("`_` may only begin a label")]
    Underscore,
    /// A character that is not ASCII: `café.example`.
    #[error("it is not ASCII; write its punycode form, `xn--...`")]
    NotAscii,
    /// An invalid character.
    #[error("a label has a character other than letters, digits and `-`")]
    Character,
    /// `1.2.3`, `999.1.1.1`. A name that ends in a number must be an IPv4 address.
    #[error("it ends in a number, yet is not an IPv4 address")]
    Number,
}

impl Domain {
    /// Whether a host, given without its port, matches this domain. Case and one trailing dot are ignored.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Domain::Exact(name) => name.eq_ignore_ascii_case(host),
            Domain::Wildcard(suffix) => host.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && rest.eq_ignore_ascii_case(suffix)
            }),
        }
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Domain, DomainError> {
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(rest);
        }
        if text.contains("://") {
            return Err(DomainError::Scheme);
        }
        if text.contains('/') {
            return Err(DomainError::Path);
        }
        if text.contains(':') {
            return Err(DomainError::Port);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        match name {
            "" => return Err(DomainError::Empty),
            "*" => return Err(DomainError::BareWildcard),
            _ => {}
        }
        if !name.is_ascii() {
            return Err(DomainError::NotAscii);
        }
        if name.len() > LONGEST_NAME {
            return Err(DomainError::Long);
        }
        let (suffix, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name, false),
        };
        suffix.split('.').try_for_each(label)?;
        let last = suffix.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            if suffix.parse::<Ipv4Addr>().is_err() {
                return Err(DomainError::Number);
            }
            if wildcard {
                return Err(DomainError::Wildcard);
            }
        }
        let suffix = suffix.to_ascii_lowercase();
        Ok(if wildcard {
            Domain::Wildcard(suffix)
        } else {
            Domain::Exact(suffix)
        })
    }
}

/// Parses an IPv6 address in brackets. `rest` is the text after the opening bracket.
fn bracketed(rest: &str) -> Result<Domain, DomainError> {
    let (inside, after) = rest.split_once(']').ok_or(DomainError::Bracket)?;
    let address: Ipv6Addr = inside.parse().map_err(|_| DomainError::Bracket)?;
    match after.bytes().next() {
        None => Ok(Domain::Exact(format!("[{address}]"))),
        Some(b':') => Err(DomainError::Port),
        Some(b'/') => Err(DomainError::Path),
        Some(_) => Err(DomainError::Bracket),
    }
}

pub(crate) fn label(label: &str) -> Result<(), DomainError> {
    let inner = label.strip_prefix('_').unwrap_or(label);
    if label.is_empty() {
        Err(DomainError::EmptyLabel)
    } else if label.contains('*') {
        Err(DomainError::Wildcard)
    } else if label.len() > LONGEST_LABEL {
        Err(DomainError::LongLabel)
    } else if inner.is_empty() || inner.contains('_') {
        Err(DomainError::Underscore)
    } else if inner.starts_with('-') || inner.ends_with('-') {
        Err(DomainError::Hyphen)
    } else if !inner
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        Err(DomainError::Character)
    } else {
        Ok(())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Exact(name) => f.write_str(name),
            Domain::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Domain, DomainError> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> String {
        domain.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_print_in_lower_case_and_parse_again() {
        let check = |text: &str, expect: &str| {
            let domain: Domain = text.parse().unwrap();
            assert_eq!(domain.to_string(), expect);
            assert_eq!(expect.parse(), Ok(domain));
        };
        check("api.example.com", "api.example.com");
        check("API.Example.COM.", "api.example.com");
        check("*.Example.com", "*.example.com");
        check("localhost", "localhost");
        check("*.localhost", "*.localhost");
        check("127.0.0.1", "127.0.0.1");
        check("[::1]", "[::1]");
        check("[2001:DB8:0::1]", "[2001:db8::1]");
        check("xn--caf-dma.example", "xn--caf-dma.example");
        check("_acme.example.com", "_acme.example.com");
        check("1.example", "1.example");
        check("a-b.c", "a-b.c");
        let longest = [
            &"a".repeat(63),
            &"b".repeat(63),
            &"c".repeat(63),
            "d".repeat(61).as_str(),
        ]
        .join(".");
        assert_eq!(longest.len(), 253);
        check(&longest, &longest);
    }

    #[test]
    fn each_refusal_says_why() {
        let check = |text: &str, expect: DomainError| {
            assert_eq!(text.parse::<Domain>(), Err(expect), "{text}")
        };
        check("", DomainError::Empty);
        check(".", DomainError::Empty);
        check("https://example.com", DomainError::Scheme);
        check("example.com/", DomainError::Path);
        check("example.com:80", DomainError::Port);
        check("[::1]:80", DomainError::Port);
        check("[::1]/", DomainError::Path);
        check("::1", DomainError::Port);
        check("[::1", DomainError::Bracket);
        check("[127.0.0.1]", DomainError::Bracket);
        check("[::1]x", DomainError::Bracket);
        check("*", DomainError::BareWildcard);
        check("*.", DomainError::BareWildcard);
        check("a.*.example.com", DomainError::Wildcard);
        check("*a.example.com", DomainError::Wildcard);
        check("*.*.example.com", DomainError::Wildcard);
        check("*.127.0.0.1", DomainError::Wildcard);
        check("a..b", DomainError::EmptyLabel);
        check(".a", DomainError::EmptyLabel);
        check("a..", DomainError::EmptyLabel);
        check(&"a".repeat(64), DomainError::LongLabel);
        check(&format!("{}a.b", "a.".repeat(126)), DomainError::Long);
        check("-a.b", DomainError::Hyphen);
        check("a-.b", DomainError::Hyphen);
        check("a_b.c", DomainError::Underscore);
        check("a_.c", DomainError::Underscore);
        check("__a.c", DomainError::Underscore);
        check("_", DomainError::Underscore);
        check("café.example", DomainError::NotAscii);
        check("a b", DomainError::Character);
        check("a@b.c", DomainError::Character);
        check("1.2.3", DomainError::Number);
        check("999.1.1.1", DomainError::Number);
        check("a.1", DomainError::Number);
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let check = |domain: &str, host: &str, expect: bool| {
            assert_eq!(
                domain.parse::<Domain>().unwrap().matches(host),
                expect,
                "{domain} {host}"
            );
        };
        check("api.example.com", "api.example.com", true);
        check("api.example.com", "API.example.com.", true);
        check("api.example.com", "example.com", false);
        check("api.example.com", "api.example.com:80", false);
        check("*.example.com", "api.example.com", true);
        check("*.example.com", "API.EXAMPLE.COM.", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", ".example.com", false);
        check("*.example.com", "a.b.example.com", false);
        check("[::1]", "[::1]", true);
    }
}
