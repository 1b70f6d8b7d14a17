//! Finds the known word that is most similar to an unknown one, for "did you mean" hints.

use strsim::damerau_levenshtein;

/// Maximum length of a compared word. No key of the manifest is that long, and the cost of a comparison is the product
/// of both lengths.
const LONGEST: usize = 40;

/// Minimum length of a prefix that counts as a match, such as `bin` of `binary` or `env` of `environment`.
const BEGINNING: usize = 3;

/// The most similar word of `known`, if one is similar enough: they differ by at most one edit per three letters (one
/// edit is always allowed), or one word is a prefix of the other. Case is ignored, and `-` equals `_`.
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
