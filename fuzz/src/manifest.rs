//! Any bytes as a manifest, and as a device's settings: nothing may panic, and every fault has a place in the text.

/// Reads the bytes.
pub fn run(text: &[u8]) {
    match hearth_manifest::parse("edge.yaml", text) {
        Ok(parsed) => assert!(!parsed.manifest.functions.is_empty()),
        Err(faults) => assert!(faults.to_string().starts_with("edge.yaml")),
    }
    match hearth_manifest::device::parse("device.yaml", text) {
        // What is understood is said the same way again.
        Ok(device) => {
            let text = serde_json::to_string(&device).unwrap();
            let again = serde_json::from_str(&text).unwrap();
            assert_eq!(device, again);
        }
        Err(faults) => assert!(faults.to_string().starts_with("device.yaml")),
    }
}
