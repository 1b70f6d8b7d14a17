//! Imports between the modules of a crate, and the rule for them: they form layers.
//!
//! At each level of a crate's module tree, a module and its submodules count as one. Where `a` imports `b`, directly
//! or through others of the same level, `b` must not import `a`. The file of a parent module is one of its level's
//! members, so submodules do not import from a parent that imports them. The rule excludes cycles of files: the files
//! of a cycle lie in at least two members of some level.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree};

/// The path of a module below its crate; empty for the crate root.
type Module = Vec<String>;

/// The modules of a crate, each in a file, with the modules that they import.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imports {
    edges: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    /// Reads the sources of a crate: the path of each file below `src`, and its text. Ignores tests.
    ///
    /// # Errors
    /// If a file is not valid Rust.
    pub(crate) fn read(files: &[(String, String)]) -> anyhow::Result<Imports> {
        let mut named = BTreeMap::new();
        for (path, text) in files {
            let Some(module) = module_of(path) else {
                continue;
            };
            let file = syn::parse_file(text).with_context(|| format!("cannot parse {path}"))?;
            let mut paths = Paths::default();
            paths.visit_file(&file);
            // The roots of the library and of the program count as one: both are above all other modules.
            let all: &mut BTreeSet<(usize, Vec<String>)> = named.entry(module).or_default();
            all.extend(paths.found);
        }
        let modules: BTreeSet<Module> = named.keys().cloned().collect();
        let edges = named.into_iter().map(|(module, paths)| {
            let targets = paths.iter().filter_map(|(depth, path)| {
                let target = resolve(&module, *depth, path, &modules)?;
                (target != module).then_some(target)
            });
            let targets = targets.collect();
            (module, targets)
        });
        Ok(Imports {
            edges: edges.collect(),
        })
    }

    /// Returns every cycle on every level.
    pub(crate) fn cycles(&self) -> Vec<Cycle> {
        let parents: BTreeSet<Module> = self
            .edges
            .keys()
            .flat_map(|module| (0..module.len()).map(|length| module[..length].to_vec()))
            .collect();
        parents
            .iter()
            .flat_map(|parent| self.cycles_below(parent))
            .collect()
    }

    /// Returns the cycles among the members of one level: a parent module's own file, and its submodules.
    fn cycles_below(&self, parent: &Module) -> Vec<Cycle> {
        let mut level: BTreeMap<&str, BTreeMap<&str, Import>> = BTreeMap::new();
        for (from, targets) in &self.edges {
            for to in targets {
                let (Some(one), Some(other)) = (member(from, parent), member(to, parent)) else {
                    continue;
                };
                if one != other {
                    let import = || Import {
                        from: from.clone(),
                        to: to.clone(),
                    };
                    let imports = level.entry(one).or_default();
                    imports.entry(other).or_insert_with(import);
                }
            }
        }
        let mut cycles: Vec<Cycle> = Vec::new();
        for start in level.keys() {
            let is_known = cycles
                .iter()
                .any(|cycle| cycle.members.contains(&(*start).to_owned()));
            if is_known {
                continue;
            }
            let reached = reachable(&level, start);
            let members: BTreeSet<&str> = reached
                .iter()
                .filter(|member| reachable(&level, member).contains(start))
                .copied()
                .collect();
            if members.is_empty() {
                continue;
            }
            let imports = level.iter().filter(|(from, _)| members.contains(*from));
            let imports = imports.flat_map(|(_, targets)| {
                let inside = targets.iter().filter(|(to, _)| members.contains(*to));
                inside.map(|(_, import)| import.clone())
            });
            cycles.push(Cycle {
                imports: imports.collect(),
                members: members.into_iter().map(str::to_owned).collect(),
            });
        }
        cycles
    }
}

/// Members of one level that import each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    members: BTreeSet<String>,
    imports: Vec<Import>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imports: Vec<String> = self.imports.iter().map(ToString::to_string).collect();
        write!(f, "modules import each other: {}", imports.join(", "))
    }
}

/// One module imports another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    from: Module,
    to: Module,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |module: &Module| match module.as_slice() {
            [] => "crate".to_owned(),
            names => names.join("::"),
        };
        write!(f, "{} imports {}", shown(&self.from), shown(&self.to))
    }
}

/// Returns the member of the level below `parent` that a module belongs to: an empty name for the parent's own file,
/// `None` for a module elsewhere.
fn member<'a>(module: &'a Module, parent: &Module) -> Option<&'a str> {
    let rest = module.strip_prefix(parent.as_slice())?;
    Some(rest.first().map_or("", String::as_str))
}

/// Returns the members that `start` reaches through imports.
fn reachable<'a>(
    level: &BTreeMap<&'a str, BTreeMap<&'a str, Import>>,
    start: &str,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(member) = waiting.pop() {
        let targets = level.get(member).into_iter().flatten();
        waiting.extend(targets.filter_map(|(to, _)| found.insert(*to).then_some(*to)));
    }
    found
}

/// Returns the module of a file below `src`, or `None` for a file of tests.
fn module_of(path: &str) -> Option<Module> {
    let path = path.strip_suffix(".rs")?;
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module.iter().any(|name| name == "tests") {
        return None;
    }
    if matches!(path, "lib" | "main") || module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    Some(module)
}

/// Returns the module that a path names inside `depth` inline modules of `module`, or `None` for a path into another
/// crate.
fn resolve(
    module: &Module,
    depth: usize,
    path: &[String],
    modules: &BTreeSet<Module>,
) -> Option<Module> {
    let mut rest = path;
    let mut base = module.clone();
    let mut inline = depth;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                if inline > 0 {
                    inline -= 1;
                } else {
                    base.pop();
                }
                rest = &rest[1..];
            }
        }
        first => {
            let child = [base.as_slice(), &[first.to_owned()]].concat();
            if !modules.contains(&child) {
                return None;
            }
        }
    }
    for name in rest {
        base.push(name.clone());
        if !modules.contains(&base) {
            base.pop();
            break;
        }
    }
    Some(base)
}

/// The paths that a file names outside of its tests, each with the number of inline modules around it.
#[derive(Default)]
struct Paths {
    depth: usize,
    found: BTreeSet<(usize, Vec<String>)>,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        self.found.insert((self.depth, path));
    }

    fn add_use(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(one) => {
                path.push(one.ident.to_string());
                self.add_use(&one.tree, path);
            }
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|one| self.add_use(one, path.clone())),
            UseTree::Name(name) => {
                // `use a::{self}` names `a`.
                if name.ident != "self" || path.is_empty() {
                    path.push(name.ident.to_string());
                }
                self.add(path);
            }
            UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                self.add(path);
            }
            UseTree::Glob(_) => self.add(path),
        }
    }

    /// Adds the paths among a macro's tokens, which are not parsed: each sequence of names with `::` between them.
    fn add_words(&mut self, words: &str) {
        let words = words.replace(":: ", "::").replace(" ::", "::");
        let separate = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
        for word in words.split(separate).filter(|word| word.contains("::")) {
            let path = word.split("::").map(str::to_owned);
            self.add(path.filter(|name| !name.is_empty()).collect());
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Fn(one) => one.attrs.as_slice(),
            _ => &[],
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, module);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `use ::name` always names another crate.
        if item.leading_colon.is_none() {
            self.add_use(&item.tree, Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let names = path.segments.iter().map(|one| one.ident.to_string());
            self.add(names.collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, one: &'ast Macro) {
        self.add_words(&one.tokens.to_string());
        visit::visit_macro(self, one);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(super)` imports nothing.
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(one) => &one.attrs,
        Item::Fn(one) => &one.attrs,
        Item::Impl(one) => &one.attrs,
        Item::Mod(one) => &one.attrs,
        Item::Static(one) => &one.attrs,
        Item::Struct(one) => &one.attrs,
        Item::Use(one) => &one.attrs,
        _ => &[],
    }
}

/// Returns whether this is `#[cfg(test)]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let cycles = Imports::read(&files).unwrap().cycles();
        cycles.iter().map(ToString::to_string).collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod a; mod b; pub use a::A;");

    #[test]
    fn layers_pass() {
        let files = [
            LIB,
            ("a.rs", "use crate::b::{self, B}; mod c; use c::C;"),
            ("a/c.rs", "use crate::b; fn f() { crate::b::g() }"),
            ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
            ("b/tests.rs", "use crate::a::A;"),
        ];
        assert_eq!(cycles(&files), <[String; 0]>::default());
    }

    #[test]
    fn files_that_import_each_other_are_found_however_they_name_each_other() {
        let expect = ["modules import each other: a imports b, b imports a"];
        for (one, other) in [
            ("use crate::b;", "use crate::a;"),
            ("use super::b::B;", "fn f() { super::a::f() }"),
            ("fn f(_: crate::b::B) {}", "fn f() { println!(\"{}\", crate::a::A) }"),
            ("mod deep { use super::super::b::B; }", "use crate::{a::{A as X}};"),
        ] {
            let files = [LIB, ("a.rs", one), ("b.rs", other)];
            assert_eq!(cycles(&files), expect, "{one} {other}");
        }
    }

    #[test]
    fn a_submodule_that_imports_from_its_parent_is_found() {
        let files = [
            LIB,
            ("a.rs", "mod c; use c::C; pub struct A;"),
            ("a/c.rs", "use super::A;"),
            ("b.rs", ""),
        ];
        let expect = ["modules import each other: a imports a::c, a::c imports a"];
        assert_eq!(cycles(&files), expect);
    }

    #[test]
    fn folders_that_import_each_other_are_found_though_no_two_files_do() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod c; mod d;"),
            ("a/c.rs", "use crate::b::e::E;"),
            ("a/d.rs", ""),
            ("b.rs", "mod e; mod f;"),
            ("b/e.rs", ""),
            ("b/f.rs", "use crate::a::d::D;"),
        ];
        let expect = ["modules import each other: a::c imports b::e, b::f imports a::d"];
        assert_eq!(cycles(&files), expect);
    }
}
