//! Which function answers: a pure table from host, path and method.
//!
//! Built once per snapshot from an accepted manifest, then only read. Knows nothing of HTTP beyond
//! names of methods; does no I/O.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use hearth_manifest::{Domain, Manifest, Segment};
use percent_encoding::percent_decode_str;

/// The routes of one snapshot.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, Node>,
    /// By what follows the `*.`.
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

/// The routes that end at one place, by method; `None` is any method.
#[derive(Debug, Default)]
struct Methods(Vec<(Option<String>, Entry)>);

/// One route of the manifest.
#[derive(Debug)]
pub struct Entry {
    /// Which function, as a place in the snapshot's list.
    pub function: usize,
    /// The pattern as the manifest writes it.
    pub pattern: String,
    names: Vec<String>,
}

/// A route that was found.
#[derive(Debug)]
pub struct Found<'t, 'p> {
    /// Where it leads.
    pub entry: &'t Entry,
    /// Values of the pattern's parameters, decoded, in its order.
    values: Vec<Cow<'p, str>>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Miss {
    /// No pattern fits host and path.
    NotFound,
    /// A pattern fits, with other methods only: these, in order.
    Method(Vec<String>),
    /// The path itself is not acceptable.
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
    /// The table of a manifest whose functions are numbered in the order of its map.
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
    /// `host` is lower case without port; `path` as the client sent it. Exact domains come before
    /// wildcards and these before functions without a domain; where one of them has no fitting route,
    /// the next is asked. Within a domain literal beats parameter beats greedy, among the routes that
    /// have the method; HEAD is answered by GET where it has no route of its own.
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

    /// Walks down; on success `values` holds the parameters' values. Visits each node at most once,
    /// so its cost is bounded by the manifest and not by the request.
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

/// Splits a path at its slashes, then decodes each segment: an encoded slash stays inside its own.
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
