//! Any bytes as `autoboot.txt`: nothing may panic, two slots are always tried, and what was read and is
//! written again reads the same.

use hearth_image::autoboot::{Autoboot, LEN, choose};

/// Reads the bytes.
pub fn run(text: &[u8]) {
    for tryboot in [false, true] {
        let [first, then] = choose(text, tryboot).slots;
        assert_eq!(then, first.other());
    }
    let Ok(said) = Autoboot::parse(text) else {
        return;
    };
    assert!(text.len() <= LEN);
    let again = said.text();
    assert_eq!(Autoboot::parse(&again), Ok(said));
    assert_eq!(choose(text, false), choose(&again, false));
    assert_eq!(choose(text, true), choose(&again, true));
}
