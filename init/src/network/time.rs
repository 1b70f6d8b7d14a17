//! The clock, led by time servers (SNTP), in a thread of its own, since a name's look-up waits. At first it is set;
//! later a small difference is made up for slowly. It never goes before the floor.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_sys::clock;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use sntpc::{NtpContext, NtpTimestampGenerator, NtpUdpSocket};

/// The port of time servers.
const PORT: u16 = 123;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the clock is compared once it is right.
const AGAIN: Duration = Duration::from_secs(3600);
/// A difference that is made up for slowly: half a second takes a quarter of an hour.
const SMALL: Duration = Duration::from_millis(500);
/// Below it there is nothing to do.
const NOTHING: Duration = Duration::from_millis(2);

/// What is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Correction {
    /// It is too small.
    None,
    /// The clock is made to run faster or slower.
    Slew(Duration, bool),
    /// It is set, to this time since 1970.
    Step(Duration),
    /// The server lies: it is before any time that can be now.
    Refuse,
}

/// `now` is the clock's, `offset` what the server has more, in microseconds.
fn correction(now: Duration, offset: i64, first: bool, floor: Duration) -> Correction {
    let by = Duration::from_micros(offset.unsigned_abs());
    let behind = offset >= 0;
    let right = match behind {
        true => now.checked_add(by),
        false => now.checked_sub(by),
    };
    match right {
        Some(right) if right >= floor => match by {
            by if by < NOTHING => Correction::None,
            by if first || by > SMALL => Correction::Step(right),
            by => Correction::Slew(by, behind),
        },
        Some(_) | None => Correction::Refuse,
    }
}

/// How long until servers are asked again.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => AGAIN,
        failures => Duration::from_secs(1 << failures.min(6)),
    }
}

/// Keeps the clock, by whatever servers come through `servers`; says through `told` that something has changed.
pub(super) fn keep(
    servers: &Receiver<Vec<String>>,
    synchronised: &Arc<AtomicBool>,
    told: &UnixStream,
    floor: Duration,
) {
    let (mut current, mut failures) = (Vec::new(), 0);
    let mut wait = AGAIN;
    loop {
        match servers.recv_timeout(wait) {
            Ok(new) => {
                current = new;
                failures = 0;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if current.is_empty() {
            wait = AGAIN;
            continue;
        }
        let first = !synchronised.load(Ordering::Relaxed);
        match current.iter().find_map(|server| ask(server, first, floor)) {
            Some(said) => {
                failures = 0;
                super::run::say(&said);
                synchronised.store(true, Ordering::Relaxed);
                use std::io::Write;
                let mut told: &UnixStream = told;
                // Whoever reads it is woken already if it is full.
                let _ = told.write(b"t");
            }
            None => failures += 1,
        }
        wait = pause(failures);
    }
}

/// Asks a server, by all of its addresses, and corrects the clock by the first good answer; what was done.
fn ask(server: &str, first: bool, floor: Duration) -> Option<String> {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    let addresses = (bare, PORT).to_socket_addrs().ok()?;
    addresses
        .take(4)
        .find_map(|address| correct(address, first, floor))
}

fn correct(address: SocketAddr, first: bool, floor: Duration) -> Option<String> {
    let any = match address {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    // Only its answers are received.
    socket.connect(address).ok()?;
    let context = NtpContext::new(Stamps::default());
    let answer = sntpc::sync::get_time(address, &Udp(socket), context).ok()?;
    let offset = answer.offset();
    let now = since_1970();
    let what = match correction(now, offset, first, floor) {
        Correction::None => Ok("right".to_owned()),
        Correction::Slew(by, behind) => clock::slew(by, behind).map(|()| {
            let how = if behind { "slow" } else { "fast" };
            format!("{} ms {how}, which is made up for", by.as_millis())
        }),
        Correction::Step(right) => {
            let set = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(right));
            set.map(|()| format!("set; it was {} s off", offset / 1_000_000))
                .map_err(Into::into)
        }
        Correction::Refuse => {
            super::run::say(&format!(
                "{address} tells a time that is over: not believed"
            ));
            return None;
        }
    };
    match what {
        Ok(what) => {
            // The hardware's clock is then kept by the kernel.
            let _ = clock::mark_synchronised();
            Some(format!("the clock is {what}, by {address}"))
        }
        Err(error) => {
            super::run::say(&format!("cannot correct the clock: {error}"));
            None
        }
    }
}

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The system's clock, for stamps.
#[derive(Clone, Copy, Debug, Default)]
struct Stamps(Duration);

impl NtpTimestampGenerator for Stamps {
    fn init(&mut self) {
        self.0 = since_1970();
    }

    fn timestamp_sec(&self) -> u64 {
        self.0.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        self.0.subsec_micros()
    }
}

/// A connected socket, whose calls wait: the futures are ready at once.
#[derive(Debug)]
struct Udp(UdpSocket);

impl NtpUdpSocket for Udp {
    async fn send_to(&self, bytes: &[u8], _: SocketAddr) -> sntpc::Result<usize> {
        self.0.send(bytes).map_err(|_| sntpc::Error::Network)
    }

    async fn recv_from(&self, room: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        let peer = self.0.peer_addr().map_err(|_| sntpc::Error::Network)?;
        let count = self.0.recv(room).map_err(|_| sntpc::Error::Network)?;
        Ok((count, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const FLOOR: Duration = Duration::from_secs(1_790_000_000);

    #[test]
    fn the_clock_is_set_at_first_and_led_later() {
        let step = |seconds| Correction::Step(Duration::from_secs(seconds));
        assert_eq!(
            correction(NOW, 30_000_000, true, FLOOR),
            step(1_800_000_030)
        );
        assert_eq!(
            correction(NOW, -30_000_000, false, FLOOR),
            step(1_799_999_970)
        );
        let tenth = Duration::from_millis(100);
        assert_eq!(
            correction(NOW, 100_000, true, FLOOR),
            Correction::Step(NOW + tenth)
        );
        assert_eq!(
            correction(NOW, 100_000, false, FLOOR),
            Correction::Slew(tenth, true)
        );
        assert_eq!(
            correction(NOW, -100_000, false, FLOOR),
            Correction::Slew(tenth, false)
        );
        assert_eq!(correction(NOW, 1_000, true, FLOOR), Correction::None);
    }

    #[test]
    fn no_server_leads_the_clock_before_its_floor() {
        let back = -20_000_000_000_000;
        assert_eq!(correction(NOW, back, true, FLOOR), Correction::Refuse);
        assert_eq!(correction(NOW, i64::MIN, true, FLOOR), Correction::Refuse);
        // A clock that was far ahead may come back.
        let wrong = Duration::from_secs(4_000_000_000);
        assert!(matches!(
            correction(wrong, -2_000_000_000_000_000, true, FLOOR),
            Correction::Step(_)
        ));
    }

    #[test]
    fn servers_are_asked_again_soon_and_ever_less() {
        let pauses: Vec<u64> = (0..9).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(pauses, [3600, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn what_a_server_says_is_taken() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut room = [0; 48];
            let (_, from) = server.recv_from(&mut room).unwrap();
            let mut answer = [0; 48];
            // No leap, version 4, server; stratum 1; the client's stamp back; received and sent in 2036.
            (answer[0], answer[1]) = (0x24, 1);
            answer[24..32].copy_from_slice(&room[40..48]);
            for at in [32, 40] {
                answer[at..at + 4].copy_from_slice(&0xffff_0000u32.to_be_bytes());
            }
            server.send_to(&answer, from).unwrap();
        });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket.connect(address).unwrap();
        let context = NtpContext::new(Stamps::default());
        let told = sntpc::sync::get_time(address, &Udp(socket), context).unwrap();
        thread.join().unwrap();
        // Seconds since 1900, of which 1970 has 2,208,988,800.
        let expect = 0xffff_0000u64 - 2_208_988_800;
        let got = since_1970()
            .as_secs()
            .saturating_add_signed(told.offset() / 1_000_000);
        assert!(got.abs_diff(expect) < 3, "{got} {expect}");
    }
}
