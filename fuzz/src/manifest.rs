//! Any bytes as a manifest: nothing may panic, and every fault has a place in the text.

/// Reads the bytes.
pub fn run(text: &[u8]) {
    match hearth_manifest::parse("edge.yaml", text) {
        Ok(parsed) => assert!(!parsed.manifest.functions.is_empty()),
        Err(faults) => assert!(faults.to_string().starts_with("edge.yaml")),
    }
}
