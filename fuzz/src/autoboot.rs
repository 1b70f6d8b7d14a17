//! Fuzzes the parser of `autoboot.txt`: it must not panic, the boot order must contain both slots, and parsed settings
//! that are written must parse to the same settings.

use hearth_image::autoboot::{Autoboot, LEN, choose};

/// Parses the bytes.
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
