//! Errors for unknown keys, with a hint: the key that was probably meant, or the map that the key belongs to.

use crate::fault::{Trail, Wrong, shown};
use crate::keys::MANIFEST;
use crate::nearest;
use crate::shape::{Key, Shape};

/// The error for an unknown key, and the key of this map that was probably meant.
pub(crate) fn unknown(
    keys: &'static [Key],
    name: &str,
    trail: &Trail<'_>,
) -> (Wrong, Option<&'static str>) {
    if name == "<<" {
        return (Wrong::new("merge keys (`<<`) are not supported"), None);
    }
    let wrong = Wrong::new(format!("unknown key `{}`", shown(name)));
    let known = || keys.iter().map(|key| key.name);
    if let Some(place) = place_in(keys, name) {
        let dot = if matches!(trail, Trail::Top) { "" } else { "." };
        return (
            wrong.hint(format!("it belongs under `{trail}{dot}{place}`")),
            None,
        );
    }
    if let Some(near) = nearest::of(name, known()) {
        return (wrong.hint(format!("did you mean `{near}`?")), Some(near));
    }
    let all = maps_of(&MANIFEST).map_or(&[][..], |(all, _)| all);
    let hint = match place_in(all, name) {
        Some(place) if place.is_empty() => "it belongs at the top of the manifest".to_owned(),
        Some(place) => format!("it belongs under `{place}`"),
        None => format!(
            "known here: {}",
            known()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    (wrong.hint(hint), None)
}

/// The path of the map with the least depth, from this map downwards, that has a key of that name. The path of this
/// map is empty.
fn place_in(keys: &'static [Key], name: &str) -> Option<String> {
    if keys.iter().any(|key| key.name == name) {
        return Some(String::new());
    }
    let below = keys.iter().filter_map(|key| {
        let (keys, suffix) = maps_of(key.shape)?;
        let below = place_in(keys, name)?;
        let dot = if below.is_empty() { "" } else { "." };
        Some(format!("{}{suffix}{dot}{below}", key.name))
    });
    below.min_by_key(|place| place.matches('.').count())
}

/// The keys of the map that a shape contains, and the suffix of its path (`[]` for a list).
pub(crate) fn maps_of(shape: &'static Shape) -> Option<(&'static [Key], String)> {
    match shape {
        Shape::Map(keys) => Some((keys, String::new())),
        Shape::List { each, .. } => {
            maps_of(each).map(|(keys, suffix)| (keys, format!("[]{suffix}")))
        }
        Shape::Names { name, each, .. } => {
            maps_of(each).map(|(keys, suffix)| (keys, format!(".{}{suffix}", name.placeholder)))
        }
        Shape::Bool
        | Shape::Whole { .. }
        | Shape::Decimal { .. }
        | Shape::Size { .. }
        | Shape::Duration { .. }
        | Shape::Name(_)
        | Shape::Text(_)
        | Shape::Resource => None,
    }
}
