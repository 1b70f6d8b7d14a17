//! The manifest as it was understood, printed as YAML that reads as the same again.

use crate::types::Manifest;

impl Manifest {
    /// The manifest with every default filled in. `parse` reads the same from it, unless it is so
    /// large that what it says in full is over `parse`'s limit.
    pub fn to_yaml(&self) -> String {
        let yaml = serde_yaml::to_string(self).expect("maps with text for keys always print");
        // The printer speaks YAML 1.1, which breaks lines at these; 1.2, which we read, does not.
        // JSON has no such doubts, and is YAML 1.2 as well.
        if yaml.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
            self.to_json()
        } else {
            yaml
        }
    }

    /// As JSON without characters that YAML wants escaped (1.2.2, section 5.1).
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
