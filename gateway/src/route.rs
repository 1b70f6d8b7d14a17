//! The routing table: finds the function for a host, path and method.
//!
//! The table is built once for each snapshot from an accepted manifest, then only read. It knows nothing of HTTP except
//! method names, and does no I/O.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use hearth_manifest::{Domain, Manifest, Segment};
use percent_encoding::percent_decode_str;

/// The routes of one snapshot.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Node>,
    /// By the part of the domain after `*.`.
    wildcard: HashMap<String, Node>,
    any: Node,
}

/// One branch of a domain's paths.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    greedy: Methods,
    here: Methods,
}

/// The routes that end at one node, by method. `None` matches any method.
#[derive(Debug, Default)]
struct Methods(Vec<(Option<String>, Entry)>);

/// One route of the manifest.
#[derive(Debug)]
pub struct Entry {
    /// The function, as an index into the snapshot's list.
    pub function: usize,
    /// The pattern as written in the manifest.
    pub pattern: String,
    names: Vec<String>,
}

/// A route that matches a request.
#[derive(Debug)]
pub struct Found<'t, 'p> {
    /// The route in the table.
    pub entry: &'t Entry,
    /// The decoded values of the pattern's parameters, in the order of the pattern.
    values: Vec<Cow<'p, str>>,
}

/// Why no route matches.
#[derive(Debug, PartialEq, Eq)]
pub enum Miss {
    /// No pattern matches the host and path.
    NotFound,
    /// Patterns match, but only for these other methods, in alphabetical order.
    Method(Vec<String>),
    /// The path itself is invalid.
    BadPath(&'static str),
}

impl<'t, 'p> Found<'t, 'p> {
    /// Names and values of the path parameters.
    pub fn params(&self) -> impl Iterator<Item = (&'t str, &Cow<'p, str>)> {
        self.entry
            .names
            .iter()
            .map(String::as_str)
            .zip(&self.values)
    }
}

impl Table {
    /// Builds the table of a manifest. Functions are numbered in the order of the manifest's map.
    pub fn new(manifest: &Manifest) -> Table {
        let mut table = Table::default();
        for (index, function) in manifest.functions.values().enumerate() {
            for route in &function.routes {
                if function.domains.is_empty() {
                    table.any.insert(index, route);
                }
                for domain in &function.domains {
                    let node = match domain {
                        Domain::Exact(name) => table.exact.entry(name.clone()).or_default(),
                        Domain::Wildcard(rest) => table.wildcard.entry(rest.clone()).or_default(),
                    };
                    node.insert(index, route);
                }
            }
        }
        table
    }

    /// Finds the route for a request.
    ///
    /// `host` is in lower case and has no port; `path` is as the client sent it. Exact domains come before wildcard
    /// domains, and these before functions without a domain. If a domain has no matching route, the next one is
    /// searched. Within a domain, a literal segment wins over a parameter, and a parameter over a greedy one, among the
    /// routes that have the method. HEAD uses the GET route if it has no route of its own.
    pub fn find<'t, 'p>(
        &'t self,
        host: &str,
        path: &'p str,
        method: &str,
    ) -> Result<Found<'t, 'p>, Miss> {
        let segments = decode_segments(path)?;
        let exact = self.exact.get(host);
        let wildcard = host
            .split_once('.')
            .and_then(|(_, rest)| self.wildcard.get(rest));
        let domains = || exact.into_iter().chain(wildcard).chain([&self.any]);
        let mut allowed = BTreeSet::new();
        for wanted in [method, "GET"] {
            for node in domains() {
                let mut values = Vec::new();
                if let Some(entry) = node.find(&segments, wanted, &mut values, &mut allowed) {
                    return Ok(Found { entry, values });
                }
            }
            if method != "HEAD" {
                break;
            }
        }
        match allowed.is_empty() {
            true => Err(Miss::NotFound),
            false => {
                if allowed.contains("GET") {
                    allowed.insert("HEAD".to_owned());
                }
                Err(Miss::Method(allowed.into_iter().collect()))
            }
        }
    }
}

impl Node {
    fn insert(&mut self, function: usize, route: &hearth_manifest::Route) {
        let mut names = Vec::new();
        let mut node = self;
        let mut greedy = false;
        for segment in route.path.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(name) => {
                    names.push(name.clone());
                    node.parameter.get_or_insert_default()
                }
                Segment::Greedy(name) => {
                    names.push(name.clone());
                    greedy = true;
                    node
                }
            };
        }
        let methods = if greedy {
            &mut node.greedy
        } else {
            &mut node.here
        };
        let entry = Entry {
            function,
            pattern: route.path.to_string(),
            names,
        };
        methods.0.push((route.method.clone(), entry));
    }

    /// Searches the subtree for `rest`. On success, `values` holds the values of the parameters. Each node is visited
    /// at most once, so the manifest and not the request bounds the cost.
    fn find<'t, 'p>(
        &'t self,
        rest: &[Cow<'p, str>],
        method: &str,
        values: &mut Vec<Cow<'p, str>>,
        allowed: &mut BTreeSet<String>,
    ) -> Option<&'t Entry> {
        let Some((first, after)) = rest.split_first() else {
            return self.here.find(method, allowed);
        };
        if let Some(node) = self.literals.get(first.as_ref())
            && let Some(entry) = node.find(after, method, values, allowed)
        {
            return Some(entry);
        }
        if let Some(node) = &self.parameter
            && !first.is_empty()
        {
            values.push(first.clone());
            if let Some(entry) = node.find(after, method, values, allowed) {
                return Some(entry);
            }
            values.pop();
        }
        let entry = self.greedy.find(method, allowed)?;
        values.push(match after.is_empty() {
            true => first.clone(),
            false => Cow::Owned(rest.join("/")),
        });
        Some(entry)
    }
}

impl Methods {
    fn find(&self, method: &str, allowed: &mut BTreeSet<String>) -> Option<&Entry> {
        let exact = self
            .0
            .iter()
            .find(|(known, _)| known.as_deref() == Some(method));
        let found = exact.or_else(|| self.0.iter().find(|(known, _)| known.is_none()));
        if found.is_none() {
            allowed.extend(self.0.iter().filter_map(|(known, _)| known.clone()));
        }
        found.map(|(_, entry)| entry)
    }
}

/// Splits a path at its slashes, then decodes each segment. So an encoded slash stays inside its segment.
fn decode_segments(path: &str) -> Result<Vec<Cow<'_, str>>, Miss> {
    let path = path
        .strip_prefix('/')
        .ok_or(Miss::BadPath("the path does not start with a slash"))?;
    path.split('/')
        .map(|raw| {
            let segment = if raw.contains('%') {
                percent_decode_str(raw)
                    .decode_utf8()
                    .map_err(|_| Miss::BadPath("the path is not UTF-8 once decoded"))?
            } else {
                Cow::Borrowed(raw)
            };
            match segment.as_ref() {
                "." | ".." => Err(Miss::BadPath("the path has a dot segment")),
                text if text.contains('\0') => Err(Miss::BadPath("the path has a NUL")),
                _ => Ok(segment),
            }
        })
        .collect()
}
