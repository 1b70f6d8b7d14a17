//! Fuzzes the SDK with arbitrary bytes from a gateway.

/// Reads the bytes as frames of one data socket, with a handler that reads bodies, and writes or refuses responses.
pub fn run(bytes: &[u8]) {
    hearth_sdk::fuzz::requests(bytes);
}
