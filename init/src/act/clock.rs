//! The clock's floor: the later of when the image was built and what was saved. A board without a clock of its own
//! begins there, and SNTP leads it on; what was saved may have been wrong, so that SNTP may lead it back, too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::{ActError, replace, text};

const PLACE: &str = "/data/system/clock";

/// The newest time that is known to have been, in seconds since 1970. Pure.
pub fn floor(built: u64, saved: Option<&str>) -> u64 {
    let saved = saved.and_then(|text| text.trim().parse().ok());
    saved.unwrap_or(0).max(built)
}

/// Seconds since 1970, by the system's clock.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Sets the clock to its floor if it is below. The floor, and whether it was.
pub fn raise(built: u64) -> Result<(u64, bool), ActError> {
    let floor = floor(built, text(PLACE, 64).as_deref());
    let below = now() < floor;
    if below {
        let time = TimeSpec::from(Duration::from_secs(floor));
        clock_settime(ClockId::CLOCK_REALTIME, time).map_err(|errno| ActError::Call {
            attempt: "set the clock",
            source: errno.into(),
        })?;
    }
    Ok((floor, below))
}

/// Saves a time that is known to have been.
pub fn save(seconds: u64) -> Result<(), ActError> {
    // Two threads may, at the end.
    static SAVING: Mutex<()> = Mutex::new(());
    let _saving = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
    replace(PLACE, format!("{seconds}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_newest_that_is_known() {
        assert_eq!(floor(100, None), 100);
        assert_eq!(floor(100, Some("250\n")), 250);
        assert_eq!(floor(100, Some("50")), 100);
        for wrong in ["", "-5", "soon", "99999999999999999999999"] {
            assert_eq!(floor(100, Some(wrong)), 100, "{wrong:?}");
        }
    }
}
