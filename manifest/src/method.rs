//! The methods of routes: upper-case tokens, or `ANY`.

use serde::{Deserialize, Deserializer, Serializer};

use crate::fault::{Wrong, shown};
use crate::nearest;

/// The manifest's name for "every method".
const ANY: &str = "ANY";

/// Common methods. Others are allowed, but a method that is similar to a common one causes a note.
const USUAL: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ANY,
];

/// Methods that cannot be routed: `CONNECT` requests a tunnel, `TRACE` an echo of the request (RFC 9110, 9.3.6 and
/// 9.3.8).
const REFUSED: [&str; 2] = ["CONNECT", "TRACE"];

/// Regular expression for the texts that `parse` accepts: a token (RFC 9110, 5.6.2) in upper case.
pub(crate) const PATTERN: &str = r"^(?!(CONNECT|TRACE)$)[A-Z0-9!#$%&'*+.^_`|~-]+$";

/// Parses a method; `ANY` becomes `None`.
pub(crate) fn parse(text: &str) -> Result<Option<String>, Wrong> {
    let upper = text.to_ascii_uppercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        Err(Wrong::new(format!("`{}` is not a method", shown(text)))
            .hint("write `GET`, `POST`, ... or `ANY`"))
    } else if upper != text {
        let wrong = Wrong::new(format!("`{}` is not in upper case", shown(text)));
        Err(wrong.hint(format!("write `{}`", shown(&upper))))
    } else if REFUSED.contains(&text) {
        Err(Wrong::new(format!(
            "`{text}` cannot be routed to a function"
        )))
    } else {
        Ok((text != ANY).then_some(upper))
    }
}

/// The common method that an uncommon one was probably meant to be.
pub(crate) fn meant(method: &str) -> Option<&'static str> {
    if USUAL.contains(&method) {
        None
    } else {
        nearest::of(method, USUAL)
    }
}

/// Formats a method in the notation that `parse` accepts.
pub(crate) fn print(method: Option<&str>) -> &str {
    method.unwrap_or(ANY)
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(method: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(print(method.as_deref()))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|wrong| serde::de::Error::custom(wrong.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_upper_case_tokens() {
        let check = |text: &str, expect: Result<Option<&str>, &str>| {
            let found = parse(text).map_err(|wrong| match wrong.hint {
                Some(hint) => format!("{}; {hint}", wrong.message),
                None => wrong.message,
            });
            assert_eq!(
                found,
                expect.map(|m| m.map(str::to_owned)).map_err(str::to_owned)
            );
        };
        check("GET", Ok(Some("GET")));
        check("PURGE", Ok(Some("PURGE")));
        check("M-SEARCH", Ok(Some("M-SEARCH")));
        check("ANY", Ok(None));
        check("get", Err("`get` is not in upper case; write `GET`"));
        check("any", Err("`any` is not in upper case; write `ANY`"));
        check("Post", Err("`Post` is not in upper case; write `POST`"));
        check("CONNECT", Err("`CONNECT` cannot be routed to a function"));
        check("TRACE", Err("`TRACE` cannot be routed to a function"));
        check(
            "",
            Err("`` is not a method; write `GET`, `POST`, ... or `ANY`"),
        );
        check(
            "GET POST",
            Err("`GET POST` is not a method; write `GET`, `POST`, ... or `ANY`"),
        );
    }

    #[test]
    fn an_unusual_method_may_have_been_meant_otherwise() {
        assert_eq!(meant("GTE"), Some("GET"));
        assert_eq!(meant("DELTE"), Some("DELETE"));
        assert_eq!(meant("PURGE"), None);
        assert_eq!(meant("PUT"), None);
    }
}
