//! Any bytes as a manifest: nothing may panic, and every fault has a place in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match hearth_manifest::parse("edge.yaml", text) {
        Ok(parsed) => assert!(!parsed.manifest.functions.is_empty()),
        Err(faults) => assert!(faults.to_string().starts_with("edge.yaml")),
    }
});
