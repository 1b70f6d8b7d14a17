//! Path patterns: `/items`, `/items/{id}`, `/files/{path+}`.
//!
//! This module defines their syntax, their printed form and when two patterns match the same paths. The gateway matches
//! requests.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::types::{PathPattern, Segment};

/// Regular expression for the schema. It approximates the texts that `FromStr` accepts.
pub(crate) const PATTERN: &str = concat!(
    r"^(/([^/{}?#\s]+|\{[A-Za-z_][A-Za-z0-9_]*\}))*",
    r"(/|/[^/{}?#\s]+|/\{[A-Za-z_][A-Za-z0-9_]*\+?\})$",
);

/// The reason why a text is not a valid path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No leading slash: `items`, or an empty text.
    #[error("it must begin with `/`")]
    NotAbsolute,
    /// A query: `/items?x=1`.
    #[error("a query (`?`) is no part of a route")]
    Query,
    /// A fragment: `/items#top`.
    #[error("a fragment (`#`) is no part of a route")]
    Fragment,
    /// White space or a control character: `/my items`.
    #[error("it has white space or a control character; write it percent-encoded, as `%20`")]
    Space,
    /// An empty segment that is not the last one: `//items`.
    #[error("a segment is empty")]
    EmptySegment,
    /// `/a/../b`, percent-encoded or not. Clients and gateways resolve such segments before they route.
    #[error("`.` and `..` cannot be segments")]
    Dots,
    /// Braces that do not enclose a whole segment: `/items/{id`, `/items/x{id}`.
    #[error(
        "braces must enclose a whole segment, as `/{{name}}/`; a brace itself is `%7B` or `%7D`"
    )]
    Brace,
    /// A parameter with an invalid name: `/items/{}`, `/items/{item-id}`.
    #[error("`{{{0}}}` needs a name of letters, digits and `_` that does not begin with a digit")]
    Name(String),
    /// A parameter name that occurs twice: `/items/{id}/{id}`.
    #[error("`{{{0}}}` appears twice")]
    Twice(String),
    /// A greedy parameter that is not the last segment: `/{path+}/items`.
    #[error("`{{{0}+}}` may only be the last segment")]
    GreedyNotLast(String),
    /// An invalid percent-encoding: `/50%`.
    #[error("`%` must be followed by two hexadecimal digits")]
    Percent,
    /// A segment that does not decode to UTF-8: `/%ff`.
    #[error("a segment does not decode to UTF-8")]
    NotUtf8,
    /// A segment that decodes to a NUL character: `/%00`.
    #[error("a segment decodes to a NUL character")]
    Nul,
}

impl PathPattern {
    /// The segments; at least one. `/` is one empty literal, and a trailing slash adds an empty literal.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The pattern without the names of its parameters. Two patterns match the same set of paths if and only
    /// if their shapes are equal.
    pub(crate) fn shape(&self) -> PathPattern {
        let nameless = |segment: &Segment| match segment {
            Segment::Literal(text) => Segment::Literal(text.clone()),
            Segment::Parameter(_) => Segment::Parameter(String::new()),
            Segment::Greedy(_) => Segment::Greedy(String::new()),
        };
        PathPattern(self.0.iter().map(nameless).collect())
    }
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<PathPattern, PathError> {
        let rest = text.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        for c in rest.chars() {
            match c {
                '?' => return Err(PathError::Query),
                '#' => return Err(PathError::Fragment),
                c if c.is_whitespace() || c.is_control() => return Err(PathError::Space),
                _ => {}
            }
        }
        let mut segments = Vec::new();
        let mut names = std::collections::HashSet::new();
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let segment = segment(part, last)?;
            if let Segment::Parameter(name) | Segment::Greedy(name) = &segment
                && !names.insert(name.clone())
            {
                return Err(PathError::Twice(name.clone()));
            }
            segments.push(segment);
        }
        Ok(PathPattern(segments))
    }
}

fn segment(part: &str, last: bool) -> Result<Segment, PathError> {
    if part.is_empty() {
        return if last {
            Ok(Segment::Literal(String::new()))
        } else {
            Err(PathError::EmptySegment)
        };
    }
    if !part.contains(['{', '}']) {
        return literal(part).map(Segment::Literal);
    }
    let inner = part
        .strip_prefix('{')
        .and_then(|part| part.strip_suffix('}'))
        .ok_or(PathError::Brace)?;
    if inner.contains(['{', '}']) {
        return Err(PathError::Brace);
    }
    let (name, greedy) = match inner.strip_suffix('+') {
        Some(name) => (name, true),
        None => (inner, false),
    };
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    if !name.bytes().next().is_some_and(letter)
        || !name.bytes().all(|b| letter(b) || b.is_ascii_digit())
    {
        return Err(PathError::Name(crate::fault::shown(inner)));
    }
    match (greedy, last) {
        (true, true) => Ok(Segment::Greedy(name.to_owned())),
        (true, false) => Err(PathError::GreedyNotLast(crate::fault::shown(name))),
        (false, _) => Ok(Segment::Parameter(name.to_owned())),
    }
}

/// Percent-decodes a literal segment.
fn literal(part: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or(PathError::Percent)
        };
        let code = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(code).map_err(|_| PathError::Percent)?);
    }
    match String::from_utf8(bytes) {
        Err(_) => Err(PathError::NotUtf8),
        Ok(text) if text.contains('\0') => Err(PathError::Nul),
        Ok(text) if text == "." || text == ".." => Err(PathError::Dots),
        Ok(text) => Ok(text),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            f.write_char('/')?;
            match segment {
                Segment::Literal(text) => text.chars().try_for_each(|c| encode(c, f))?,
                Segment::Parameter(name) => write!(f, "{{{name}}}")?,
                Segment::Greedy(name) => write!(f, "{{{name}+}}")?,
            }
        }
        Ok(())
    }
}

/// Writes a character of a literal. Characters that a path may contain (RFC 3986, `pchar`) and letters and digits of
/// all scripts are written unchanged; other characters are percent-encoded.
fn encode(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if c.is_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c) {
        return f.write_char(c);
    }
    let mut buffer = [0; 4];
    c.encode_utf8(&mut buffer)
        .bytes()
        .try_for_each(|byte| write!(f, "%{byte:02X}"))
}

impl TryFrom<String> for PathPattern {
    type Error = PathError;

    fn try_from(text: String) -> Result<PathPattern, PathError> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> String {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    #[test]
    fn patterns_have_segments_and_print_as_they_parse() {
        let check = |text: &str, segments: &[Segment], printed: &str| {
            let pattern: PathPattern = text.parse().unwrap();
            assert_eq!(pattern.segments(), segments, "{text}");
            assert_eq!(pattern.to_string(), printed);
            assert_eq!(printed.parse(), Ok(pattern));
        };
        let id = || Segment::Parameter("id".to_owned());
        check("/", &[literal("")], "/");
        check("/items", &[literal("items")], "/items");
        check("/items/", &[literal("items"), literal("")], "/items/");
        check("/items/{id}", &[literal("items"), id()], "/items/{id}");
        check("/{id}/", &[id(), literal("")], "/{id}/");
        check(
            "/f/{p+}",
            &[literal("f"), Segment::Greedy("p".to_owned())],
            "/f/{p+}",
        );
        check("/{_a1}", &[Segment::Parameter("_a1".to_owned())], "/{_a1}");
        check("/a%20b", &[literal("a b")], "/a%20b");
        check("/%61", &[literal("a")], "/a");
        check("/a%2fb", &[literal("a/b")], "/a%2Fb");
        check("/%7Bid%7d", &[literal("{id}")], "/%7Bid%7D");
        check("/100%25", &[literal("100%")], "/100%25");
        check("/caf%C3%A9", &[literal("café")], "/café");
        check("/café", &[literal("café")], "/café");
        check("/...", &[literal("...")], "/...");
        check("/a;b=c@d:e", &[literal("a;b=c@d:e")], "/a;b=c@d:e");
        check("/%C2%A0%01", &[literal("\u{a0}\u{1}")], "/%C2%A0%01");
    }

    #[test]
    fn each_refusal_says_why() {
        let check = |text: &str, expect: PathError| {
            assert_eq!(text.parse::<PathPattern>(), Err(expect), "{text}")
        };
        check("", PathError::NotAbsolute);
        check("items", PathError::NotAbsolute);
        check("/a?b", PathError::Query);
        check("/a#b", PathError::Fragment);
        check("/a b", PathError::Space);
        check("/a\u{a0}b", PathError::Space);
        check("/a\u{1}b", PathError::Space);
        check("//", PathError::EmptySegment);
        check("//a", PathError::EmptySegment);
        check("/a//b", PathError::EmptySegment);
        check("/a//", PathError::EmptySegment);
        check("/.", PathError::Dots);
        check("/a/../b", PathError::Dots);
        check("/%2e%2E/b", PathError::Dots);
        check("/{id", PathError::Brace);
        check("/id}", PathError::Brace);
        check("/x{id}", PathError::Brace);
        check("/{a}{b}", PathError::Brace);
        check("/{id}.json", PathError::Brace);
        check("/{}", PathError::Name(String::new()));
        check("/{+}", PathError::Name("+".to_owned()));
        check("/{1a}", PathError::Name("1a".to_owned()));
        check("/{a-b}", PathError::Name("a-b".to_owned()));
        check("/{a++}", PathError::Name("a++".to_owned()));
        check("/{a}/{a}", PathError::Twice("a".to_owned()));
        check("/{a}/{a+}", PathError::Twice("a".to_owned()));
        check("/{a+}/b", PathError::GreedyNotLast("a".to_owned()));
        check("/{a+}/", PathError::GreedyNotLast("a".to_owned()));
        check("/50%", PathError::Percent);
        check("/%4", PathError::Percent);
        check("/%zz", PathError::Percent);
        check("/%ff", PathError::NotUtf8);
        check("/%00", PathError::Nul);
    }

    #[test]
    fn names_of_parameters_do_not_tell_patterns_apart() {
        let check = |a: &str, b: &str, expect: bool| {
            let [one, other] = [a, b].map(|text| text.parse::<PathPattern>().unwrap().shape());
            assert_eq!(one == other, expect, "{a} {b}");
        };
        check("/a/{x}", "/a/{y}", true);
        check("/a/{x+}", "/a/{y+}", true);
        check("/a/{x}", "/a/{x+}", false);
        check("/a/{x}", "/a/x", false);
        check("/a", "/a/", false);
        check("/%61", "/a", true);
    }
}
