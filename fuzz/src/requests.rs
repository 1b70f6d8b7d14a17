//! Any bytes as what a gateway sends a worker, through the SDK.

/// Reads the bytes as frames of one data socket, with a handler that reads, writes and gives up.
pub fn run(bytes: &[u8]) {
    hearth_sdk::fuzz::requests(bytes);
}
