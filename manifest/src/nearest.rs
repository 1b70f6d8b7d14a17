//! The known word that an unknown one was probably meant to be.

use strsim::damerau_levenshtein;

/// Longer than any key of the manifest; comparing costs the product of both lengths.
const LONGEST: usize = 40;

/// A beginning that tells words apart, as `bin` does `binary` and `env` does `environment`.
const BEGINNING: usize = 3;

/// The nearest of `known`, if any is near: one slip in three letters, or one begins the other.
/// Case, and `-` for `_`, do not count.
pub(crate) fn of<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .into_iter()
        .filter_map(|candidate| {
            let other = plain(candidate);
            let slips = damerau_levenshtein(&word, &other);
            let longer = word.len().max(other.len());
            let begins = word.len().min(other.len()) >= BEGINNING
                && (word.starts_with(&other) || other.starts_with(&word));
            (slips <= (longer / 3).max(1) && slips < other.len() || begins)
                .then_some((slips, candidate))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_key_and_strangers_find_none() {
        let known = [
            "domains",
            "routes",
            "binary",
            "build",
            "env",
            "scale",
            "timeout",
            "access_log",
        ];
        let check =
            |word: &str, expect: Option<&str>| assert_eq!(of(word, known), expect, "{word}");
        check("route", Some("routes"));
        check("Routes", Some("routes"));
        check("rotues", Some("routes"));
        check("bin", Some("binary"));
        check("access-log", Some("access_log"));
        check("time_out", Some("timeout"));
        check("environment", Some("env"));
        check("x", None);
        check("", None);
        check("memory", None);
        check("gateway", None);
        check(&"routes".repeat(20), None);
    }
}
