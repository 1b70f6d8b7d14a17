//! Fuzzes the parsers of manifests and of device settings: they must not panic, and errors must begin with the name of
//! the file.

/// Parses the bytes.
pub fn run(text: &[u8]) {
    match hearth_manifest::parse("edge.yaml", text) {
        Ok(parsed) => assert!(!parsed.manifest.functions.is_empty()),
        Err(faults) => assert!(faults.to_string().starts_with("edge.yaml")),
    }
    match hearth_manifest::device::parse("device.yaml", text) {
        // Settings that are serialised must parse to the same settings.
        Ok(device) => {
            let text = serde_json::to_string(&device).unwrap();
            let again = serde_json::from_str(&text).unwrap();
            assert_eq!(device, again);
        }
        Err(faults) => assert!(faults.to_string().starts_with("device.yaml")),
    }
}
