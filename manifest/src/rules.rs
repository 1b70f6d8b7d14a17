//! Rules between several keys, which the table of keys cannot express.
//!
//! The rules run on the tree of nodes, so that their errors are reported together with all others. They skip invalid
//! values, because `check` reports those.

use std::collections::{HashMap, HashSet};

use crate::fault::{At, Kind, Sink, Trail, Wrong};
use crate::keys::MOST_FUNCTIONS;
use crate::node::{Node, Value};
use crate::types::{Domain, PathPattern};
use crate::{address, method};

/// Checks all rules of the manifest.
pub(crate) fn manifest(root: &Node, faults: &mut Sink<'_>, notes: &mut Sink<'_>) {
    if let Some(gateway) = root.key("gateway") {
        let trail = Trail::Key(&Trail::Top, "gateway");
        if let Some(listen) = gateway.key("listen") {
            listeners(listen, &Trail::Key(&trail, "listen"), faults);
        }
        if let Some(certificates) = gateway.key("tls").and_then(|tls| tls.key("certificates")) {
            let tls = Trail::Key(&trail, "tls");
            let trail = Trail::Key(&tls, "certificates");
            unique_certificates(certificates, &trail, faults);
            if !certificates.items().is_empty() && !listens(gateway, "https") {
                let note =
                    Wrong::new("certificates without a listener: `gateway.listen.https` is off");
                notes.put(certificates.at, &trail, Kind::Note, note);
            }
        }
    }
    if let Some(functions) = root.key("functions") {
        let trail = Trail::Key(&Trail::Top, "functions");
        for (name, function) in functions.entries() {
            let trail = Trail::Key(&trail, &name.text);
            unique_domains(function, &trail, faults);
            scale(function, &trail, faults);
        }
        claims(functions, &trail, faults);
    }
}

/// Whether the listener `which` (`http` or `https`) is open. An invalid address counts as open.
fn listens(gateway: &Node, which: &str) -> bool {
    match gateway.key("listen") {
        None => true,
        Some(listen) => listen
            .key(which)
            .is_some_and(|node| node.text() != Some("off")),
    }
}

fn listeners(listen: &Node, trail: &Trail<'_>, faults: &mut Sink<'_>) {
    if !matches!(listen.value, Value::Map(_)) {
        return;
    }
    let off = |name| {
        listen
            .key(name)
            .is_none_or(|node| node.text() == Some("off"))
    };
    if off("http") && off("https") {
        let wrong =
            Wrong::new("both listeners are off").hint("give `http`, `https` or both an address");
        faults.put(listen.at, trail, Kind::Conflict, wrong);
    }
    let bound = |name| {
        let node = listen.key(name)?;
        let address = address::parse(node.text()?).ok()??;
        Some((node, address))
    };
    if let (Some((http, one)), Some((https, other))) = (bound("http"), bound("https"))
        && address::collide(one, other)
    {
        let (name, first, second) = if http.at < https.at {
            ("https", http.at, https.at)
        } else {
            ("http", https.at, http.at)
        };
        let wrong = Wrong::new(format!(
            "port {} is taken by the listener at {}",
            one.port(),
            first
        ));
        faults.put(second, &Trail::Key(trail, name), Kind::Conflict, wrong);
    }
}

fn unique_certificates(certificates: &Node, trail: &Trail<'_>, faults: &mut Sink<'_>) {
    let mut seen: HashMap<Domain, At> = HashMap::new();
    for (index, certificate) in certificates.items().iter().enumerate() {
        let trail = Trail::Item(trail, index);
        let trail = Trail::Key(&trail, "domains");
        for (index, node, domain) in domains_of(certificate) {
            match seen.get(&domain) {
                Some(first) => {
                    let wrong = Wrong::new(format!(
                        "`{domain}` has a certificate already, at {}",
                        first
                    ));
                    faults.put(node.at, &Trail::Item(&trail, index), Kind::Conflict, wrong);
                }
                None => {
                    seen.insert(domain, node.at);
                }
            }
        }
    }
}

fn unique_domains(function: &Node, trail: &Trail<'_>, faults: &mut Sink<'_>) {
    let trail = Trail::Key(trail, "domains");
    let mut seen: HashMap<Domain, At> = HashMap::new();
    for (index, node, domain) in domains_of(function) {
        match seen.get(&domain) {
            Some(first) => {
                let wrong = Wrong::new(format!("`{domain}` appears twice, first at {}", first));
                faults.put(node.at, &Trail::Item(&trail, index), Kind::Conflict, wrong);
            }
            None => {
                seen.insert(domain, node.at);
            }
        }
    }
}

/// The valid entries of `domains`, with their indices in the list.
fn domains_of(node: &Node) -> impl Iterator<Item = (usize, &Node, Domain)> {
    let items = node.key("domains").map_or(&[][..], Node::items);
    items
        .iter()
        .enumerate()
        .filter_map(|(index, node)| Some((index, node, node.text()?.parse().ok()?)))
}

fn scale(function: &Node, trail: &Trail<'_>, faults: &mut Sink<'_>) {
    let Some(node) = function.key("scale") else {
        return;
    };
    let Some(Node {
        value: Value::Int(max),
        at,
        ..
    }) = node.key("max")
    else {
        return;
    };
    let min = match node.key("min") {
        None => 1,
        Some(Node {
            value: Value::Int(min),
            ..
        }) => *min,
        Some(_) => return,
    };
    let trail = Trail::Key(trail, "scale");
    let trail = Trail::Key(&trail, "max");
    if *max < min {
        faults.put(
            *at,
            &trail,
            Kind::Conflict,
            Wrong::new(format!("`max` is less than `min`, which is {min}")),
        );
    }
}

/// The valid domains of a function; an empty set means any host.
struct Hosts(HashSet<Domain>);

impl Hosts {
    fn of(function: &Node) -> Option<Hosts> {
        match function.key("domains") {
            None => Some(Hosts(HashSet::new())),
            Some(node) if matches!(node.value, Value::List(_)) => {
                let domains: HashSet<_> =
                    domains_of(function).map(|(_, _, domain)| domain).collect();
                // A list with only invalid domains must not count as an empty list, which means any host.
                (domains.is_empty() == node.items().is_empty()).then_some(Hosts(domains))
            }
            Some(_) => None,
        }
    }

    /// Describes a host that both functions serve, or returns `None`.
    fn shared(&self, other: &Hosts) -> Option<String> {
        if self.0.is_empty() && other.0.is_empty() {
            return Some("any host".to_owned());
        }
        // The smallest domain, so that the same manifest always gets the same message.
        let (few, many) = if self.0.len() < other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.0
            .iter()
            .filter(|domain| many.0.contains(domain))
            .min()
            .map(|domain| format!("`{domain}`"))
    }
}

/// A route of a function, for messages about conflicts.
struct Claim<'t> {
    function: usize,
    name: &'t str,
    route: usize,
    at: At,
}

/// Checks that no two routes have the same domain, path and method. The order of routes never decides.
fn claims(functions: &Node, trail: &Trail<'_>, faults: &mut Sink<'_>) {
    if functions.entries().len() > MOST_FUNCTIONS {
        return;
    }
    let mut hosts = Vec::new();
    // For each path shape and method, the first route of each function that has it.
    let mut seen: HashMap<(PathPattern, Option<String>), Vec<Claim<'_>>> = HashMap::new();
    for (function, (name, node)) in functions.entries().iter().enumerate() {
        hosts.push(Hosts::of(node));
        let Some(own) = &hosts[function] else {
            continue;
        };
        // The host that this function shares with each earlier one, computed at most once for each pair of functions.
        let mut shared: Vec<Option<Option<String>>> = vec![None; hosts.len()];
        let trail = Trail::Key(trail, &name.text);
        let trail = Trail::Key(&trail, "routes");
        for (index, route) in node
            .key("routes")
            .map_or(&[][..], Node::items)
            .iter()
            .enumerate()
        {
            let Some((path, method)) = route_of(route) else {
                continue;
            };
            let claim = Claim {
                function,
                name: &name.text,
                route: index,
                at: route.at,
            };
            let others = seen.entry((path.shape(), method.clone())).or_default();
            let taken = others.iter().find_map(|other| {
                let words = shared[other.function]
                    .get_or_insert_with(|| hosts[other.function].as_ref()?.shared(own));
                words.clone().map(|words| (other, words))
            });
            if let Some((other, words)) = taken {
                let wrong = Wrong::new(format!(
                    "`{} {path}` on {words} is claimed by `functions.{}.routes[{}]` at {} already",
                    method::print(method.as_deref()),
                    other.name,
                    other.route,
                    other.at,
                ));
                faults.put(route.at, &Trail::Item(&trail, index), Kind::Conflict, wrong);
            }
            if others.last().is_none_or(|last| last.function != function) {
                others.push(claim);
            }
        }
    }
}

fn route_of(route: &Node) -> Option<(PathPattern, Option<String>)> {
    let path = route.key("path")?.text()?.parse().ok()?;
    let method = match route.key("method") {
        None => None,
        Some(node) => method::parse(node.text()?).ok()?,
    };
    Some((path, method))
}
