//! Prints a manifest as YAML that parses to the same manifest.

use crate::types::Manifest;

impl Manifest {
    /// Formats the manifest as YAML, with every default filled in. `parse` returns the same manifest from it, unless
    /// the text with all defaults exceeds the size limit of `parse`.
    pub fn to_yaml(&self) -> String {
        let yaml = serde_yaml::to_string(self).expect("maps with text for keys always print");
        // `serde_yaml` writes YAML 1.1, where these characters are line breaks; the parser reads YAML 1.2, where they
        // are not. JSON is valid YAML 1.2 and has no such ambiguity.
        if yaml.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
            self.to_json()
        } else {
            yaml
        }
    }

    /// Formats the manifest as JSON and escapes the characters that YAML requires to be escaped (1.2.2, section 5.1).
    fn to_json(&self) -> String {
        let json =
            serde_json::to_string_pretty(self).expect("maps with text for keys always print");
        let mut escaped = String::with_capacity(json.len());
        for c in json.chars() {
            match c {
                '\u{7f}'..='\u{9f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{feff}'
                | '\u{fffe}'
                | '\u{ffff}' => {
                    escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                _ => escaped.push(c),
            }
        }
        escaped + "\n"
    }
}
