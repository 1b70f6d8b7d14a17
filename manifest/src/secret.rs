//! References to secrets: lists them and replaces them by the secrets' values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::keys::SECRET_NAME;
use crate::types::{EnvValue, Function, Manifest};

/// The key of a reference to a secret: `{ secret: NAME }`.
pub(crate) const SECRET: &str = "secret";

/// Whether `text` is a valid name for a secret.
pub fn is_secret_name(text: &str) -> bool {
    SECRET_NAME.fits(text)
}

/// A function's environment, resources and secrets, with every reference replaced by the secret's value.
#[derive(Clone, Default, PartialEq)]
pub struct Filled {
    /// Environment of the handler.
    pub env: BTreeMap<String, String>,
    /// Resources by name.
    pub resources: BTreeMap<String, Value>,
    /// Values of the secrets that the manifest lists in `secrets`, by name.
    pub secrets: BTreeMap<String, String>,
}

impl std::fmt::Debug for Filled {
    /// Prints only names, because the values can be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filled")
            .field("env", &self.env.keys())
            .field("resources", &self.resources.keys())
            .field("secrets", &self.secrets.keys())
            .finish()
    }
}

/// A reference to a secret that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing<E> {
    /// Path of the reference within the function, such as `env.API_KEY`.
    pub place: String,
    /// Name of the secret.
    pub name: String,
    /// Error of the lookup.
    pub why: E,
}

impl Manifest {
    /// The names of all secrets that functions refer to, sorted, each once.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let mut names = BTreeSet::new();
        for function in self.functions.values() {
            names.extend(function.env.values().filter_map(|one| match one {
                EnvValue::Text(_) => None,
                EnvValue::Secret { secret } => Some(secret.as_str()),
            }));
            for resource in function.resources.values() {
                collect(resource, &mut names);
            }
            names.extend(function.secrets.iter().map(String::as_str));
        }
        names.into_iter()
    }
}

fn collect<'v>(value: &'v Value, names: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(map) => match reference(map) {
            Some(name) => _ = names.insert(name),
            None => map.values().for_each(|one| collect(one, names)),
        },
        Value::Array(list) => list.iter().for_each(|one| collect(one, names)),
        _ => {}
    }
}

impl Function {
    /// Replaces every reference to a secret. `value` looks up the value of a name.
    ///
    /// # Errors
    /// Returns the first reference that has no value, with the error of `value`.
    pub fn fill<E>(
        &self,
        mut value: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Filled, Missing<E>> {
        let mut filled = Filled::default();
        let mut get = |place: &str, name: &str| {
            value(name).map_err(|why| Missing {
                place: place.to_owned(),
                name: name.to_owned(),
                why,
            })
        };
        for (key, one) in &self.env {
            let text = match one {
                EnvValue::Text(text) => text.clone(),
                EnvValue::Secret { secret } => get(&format!("env.{key}"), secret)?,
            };
            filled.env.insert(key.clone(), text);
        }
        for (key, one) in &self.resources {
            let value = replace(one, &format!("resources.{key}"), &mut get)?;
            filled.resources.insert(key.clone(), value);
        }
        for (index, name) in self.secrets.iter().enumerate() {
            let text = get(&format!("secrets[{index}]"), name)?;
            filled.secrets.insert(name.clone(), text);
        }
        Ok(filled)
    }
}

/// Replaces the references in a value. The recursion is bounded, because `read` limits the depth of values.
fn replace<E>(
    value: &Value,
    place: &str,
    get: &mut impl FnMut(&str, &str) -> Result<String, E>,
) -> Result<Value, E> {
    Ok(match value {
        Value::Object(map) => match reference(map) {
            Some(name) => Value::String(get(place, name)?),
            None => {
                let mut replaced = Map::new();
                for (key, one) in map {
                    let one = replace(one, &format!("{place}.{key}"), get)?;
                    replaced.insert(key.clone(), one);
                }
                Value::Object(replaced)
            }
        },
        Value::Array(list) => {
            let items = list.iter().enumerate();
            let items = items.map(|(at, one)| replace(one, &format!("{place}[{at}]"), get));
            Value::Array(items.collect::<Result<_, E>>()?)
        }
        other => other.clone(),
    })
}

fn reference(map: &Map<String, Value>) -> Option<&str> {
    map.get(SECRET).filter(|_| map.len() == 1)?.as_str()
}

#[cfg(test)]
mod tests {
    use crate::parse;

    const TEXT: &str = r#"
service: s
functions:
  f:
    routes: [{ path: / }]
    binary: f
    env: { A: plain, B: { secret: b } }
    resources: { one: { secret: a }, two: { postgres: { secret: b }, more: [1, { secret: a }] } }
    secrets: [c]
"#;

    #[test]
    fn values_take_the_places_of_references() {
        let manifest = parse("m", TEXT.as_bytes()).unwrap().manifest;
        let filled = manifest.functions["f"]
            .fill(|name| Ok::<_, ()>(name.to_uppercase()))
            .unwrap();
        let json = serde_json::json!([filled.env, filled.resources, filled.secrets]);
        let expect = serde_json::json!([
            { "A": "plain", "B": "B" },
            { "one": "A", "two": { "postgres": "B", "more": [1, "A"] } },
            { "c": "C" },
        ]);
        assert_eq!(json, expect);
        assert!(!format!("{filled:?}").contains("plain"));
        assert_eq!(manifest.secrets().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_reference_without_a_value_is_named_with_its_place() {
        let manifest = parse("m", TEXT.as_bytes()).unwrap().manifest;
        let fill = |known: &str| {
            let value = |name: &str| match known.contains(name) {
                true => Ok(String::new()),
                false => Err("nowhere"),
            };
            let missing = manifest.functions["f"].fill(value).unwrap_err();
            (missing.place, missing.name)
        };
        let named = |place: &str, name: &str| (place.to_owned(), name.to_owned());
        assert_eq!(fill(""), named("env.B", "b"));
        assert_eq!(fill("b"), named("resources.one", "a"));
        assert_eq!(fill("ab"), named("secrets[0]", "c"));
    }
}
