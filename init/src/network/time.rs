//! The clock, led by time servers (SNTP), in a thread of its own, since a name's look-up waits. At first it is set;
//! later a small difference is made up for slowly. Nobody proves who they are here: two servers that agree are believed,
//! and one alone only as long as no two have agreed, while others are asked again soon.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
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
/// Two servers that differ by less say the same.
const AGREE: Duration = Duration::from_secs(1);
/// So many addresses of a server are asked.
const MOST: usize = 4;
/// This program was written later, seconds since 1970: the first day of 2026.
const WRITTEN: u64 = 1_767_225_600;
/// No image is used for longer.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// When it can be now, since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: Duration,
    last: Duration,
}

impl Span {
    /// For an image that was built at a time, in seconds since 1970. A time that was saved is no bound: it came of a
    /// server's word, and one that was wrong must not hold for ever.
    pub(super) fn of(built: u64) -> Span {
        let first = Duration::from_secs(built.max(WRITTEN));
        Span {
            first,
            last: first.saturating_add(LIFE),
        }
    }

    fn holds(self, time: Duration) -> bool {
        (self.first..=self.last).contains(&time)
    }
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    from: IpAddr,
    /// What its clock has more than ours, in microseconds.
    offset: i64,
}

impl Answer {
    /// What time it is, by the server, when our clock says `now`.
    fn time(self, now: Duration) -> Option<Duration> {
        let by = Duration::from_micros(self.offset.unsigned_abs());
        match self.offset >= 0 {
            true => now.checked_add(by),
            false => now.checked_sub(by),
        }
    }

    fn agrees(self, other: Answer) -> bool {
        let apart = self.offset.abs_diff(other.offset);
        Duration::from_micros(apart) < AGREE
    }
}

/// How far a time is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Nobody has told it.
    None,
    /// One server has.
    One,
    /// Two agree about it.
    Two,
}

/// The first of two servers that agree. Where no two do, the one that changes least.
fn believed(
    servers: impl Iterator<Item = IpAddr>,
    mut ask: impl FnMut(IpAddr) -> Option<Answer>,
) -> Option<(Answer, Trust)> {
    let (mut asked, mut answers) = (BTreeSet::new(), Vec::<Answer>::new());
    // One that has two names is one.
    for server in servers.filter(|server| asked.insert(*server)) {
        let Some(answer) = ask(server) else {
            continue;
        };
        if let Some(first) = answers.iter().find(|other| other.agrees(answer)) {
            return Some((*first, Trust::Two));
        }
        answers.push(answer);
    }
    let least = |answer: &Answer| answer.offset.unsigned_abs();
    let least = answers.into_iter().min_by_key(least)?;
    Some((least, Trust::One))
}

/// What is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Correction {
    /// It is too small.
    None,
    /// The clock is made to run faster or slower.
    Slew(Duration, bool),
    /// It is set, to this time since 1970.
    Step(Duration),
    /// One server alone says that it is wrong, and two have said that it is right.
    Refuse,
}

/// `now` is the clock's, which is trusted so far, and `right` the time that was told.
fn correction(now: (Duration, Trust), right: (Duration, Trust)) -> Correction {
    let ((now, held), (right, told)) = (now, right);
    match now.abs_diff(right) {
        by if by < NOTHING => Correction::None,
        by if by <= SMALL && held > Trust::None => Correction::Slew(by, right > now),
        _ if told < held => Correction::Refuse,
        _ => Correction::Step(right),
    }
}

/// How long until servers are asked again, after so many times in a row at which that has happened.
fn pause(told: Trust, times: u32) -> Duration {
    let seconds = match told {
        Trust::None => 2 << times.min(5),
        Trust::One => 64 << times.min(6),
        Trust::Two => return AGAIN,
    };
    Duration::from_secs(seconds).min(AGAIN)
}

/// Keeps the clock, which is trusted so far, by whatever servers come through `servers`; says through `told` that
/// something has changed.
pub(super) fn keep(
    servers: &Receiver<Vec<String>>,
    mut held: Trust,
    synchronised: &Arc<AtomicBool>,
    told: &UnixStream,
    span: Span,
) {
    let mut current = Vec::new();
    let mut row = (Trust::None, 0);
    let mut wait = AGAIN;
    loop {
        match servers.recv_timeout(wait) {
            Ok(new) => {
                current = new;
                row = (Trust::None, 0);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if current.is_empty() {
            wait = AGAIN;
            continue;
        }
        let all = current.iter().flat_map(|server| addresses(server));
        let answer = believed(all, |server| {
            ask(SocketAddr::new(server, PORT), span, PATIENCE)
        });
        let trust = answer.map_or(Trust::None, |(_, trust)| trust);
        if let Some((answer, _)) = answer
            && let Some(said) = correct(held, answer, trust)
        {
            super::run::say(&said);
            held = held.max(trust);
            synchronised.store(true, Ordering::Relaxed);
            use std::io::Write;
            let mut told: &UnixStream = told;
            // Whoever reads it is woken already if it is full.
            let _ = told.write(b"t");
        }
        row = (trust, if row.0 == trust { row.1 + 1 } else { 0 });
        wait = pause(row.0, row.1);
    }
}

/// Some of a server, by name or address.
fn addresses(server: &str) -> Vec<IpAddr> {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    let all = (bare, PORT).to_socket_addrs().into_iter().flatten();
    all.map(|address| address.ip()).take(MOST).collect()
}

/// Asks a server; what it says, if that can be.
fn ask(address: SocketAddr, span: Span, patience: Duration) -> Option<Answer> {
    let any = match address {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_read_timeout(Some(patience)).ok()?;
    // Only its answers are received.
    socket.connect(address).ok()?;
    let context = NtpContext::new(Stamps::default());
    let told = sntpc::sync::get_time(address, &Udp(socket), context).ok()?;
    let answer = Answer {
        from: address.ip(),
        offset: told.offset(),
    };
    let time = answer.time(since_1970());
    if time.is_some_and(|time| span.holds(time)) {
        return Some(answer);
    }
    let told = time.map_or(0, |time| time.as_secs());
    super::run::say(&format!(
        "{address} tells a time that cannot be, {told} s since 1970: not believed"
    ));
    None
}

/// Corrects the clock by an answer; what was done.
fn correct(held: Trust, answer: Answer, trust: Trust) -> Option<String> {
    let now = since_1970();
    let what = match correction((now, held), (answer.time(now)?, trust)) {
        Correction::None => Ok("right".to_owned()),
        Correction::Slew(by, behind) => clock::slew(by, behind).map(|()| {
            let how = if behind { "slow" } else { "fast" };
            format!("{} ms {how}, which is made up for", by.as_millis())
        }),
        Correction::Step(right) => {
            let set = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from(right));
            let off = answer.offset / 1_000_000;
            set.map(|()| format!("set; it was {off} s off"))
                .map_err(Into::into)
        }
        Correction::Refuse => {
            let (from, off) = (answer.from, answer.offset / 1_000_000);
            super::run::say(&format!(
                "{from} alone tells a time that is {off} s off: not believed"
            ));
            return None;
        }
    };
    match what {
        Ok(what) => {
            // The hardware's clock is then kept by the kernel.
            let _ = clock::mark_synchronised();
            Some(format!("the clock is {what}, by {}", answer.from))
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

    #[test]
    fn the_clock_is_set_at_first_and_led_later() {
        use Trust::{None, One, Two};
        let correct = |held, right, told| correction((NOW, held), (right, told));
        let (tenth, half_minute) = (Duration::from_millis(100), Duration::from_secs(30));
        for right in [NOW + half_minute, NOW - half_minute] {
            for (held, told) in [(None, One), (None, Two), (One, One), (One, Two), (Two, Two)] {
                assert_eq!(correct(held, right, told), Correction::Step(right));
            }
            assert_eq!(correct(Two, right, One), Correction::Refuse);
        }
        let ahead = NOW + tenth;
        assert_eq!(correct(None, ahead, One), Correction::Step(ahead));
        for (held, told) in [(One, One), (Two, One), (Two, Two)] {
            assert_eq!(correct(held, ahead, told), Correction::Slew(tenth, true));
            let behind = correct(held, NOW - tenth, told);
            assert_eq!(behind, Correction::Slew(tenth, false));
        }
        let hair = NOW + Duration::from_millis(1);
        assert_eq!(correct(None, hair, One), Correction::None);
    }

    #[test]
    fn a_time_that_cannot_be_is_nobodys() {
        let built = 1_790_000_000;
        let span = Span::of(built);
        let at = Duration::from_secs;
        assert!(!span.holds(at(built - 1)));
        assert!(span.holds(at(built)) && span.holds(at(built) + LIFE));
        assert!(!span.holds(at(built + 1) + LIFE));
        // An image that says nothing of sense is no older than its program.
        for unknown in [0, 1] {
            assert!(Span::of(unknown).holds(at(WRITTEN)));
        }
        assert!(!Span::of(u64::MAX).holds(NOW));
        let answer = |offset| Answer {
            from: IpAddr::from([10, 0, 0, 1]),
            offset,
        };
        assert_eq!(answer(1_000_000).time(NOW), Some(NOW + at(1)));
        assert_eq!(answer(-1_000_000).time(NOW), Some(NOW - at(1)));
        assert_eq!(answer(i64::MIN).time(NOW), None);
    }

    /// Servers that say so many seconds, or nothing; who is believed, and how many were asked.
    fn believe(says: &[Option<i64>]) -> (Option<i64>, usize) {
        let mut asked = 0;
        let servers = (0..says.len()).map(|number| IpAddr::from([10, 0, 0, number as u8]));
        let answer = believed(servers, |from| {
            let IpAddr::V4(address) = from else {
                panic!("{from}")
            };
            asked += 1;
            let offset = says[usize::from(address.octets()[3])]? * 1_000_000;
            Some(Answer { from, offset })
        });
        if let Some((_, trust)) = answer {
            let agreeing = says
                .iter()
                .flatten()
                .filter(|one| answer.is_some_and(|(answer, _)| **one * 1_000_000 == answer.offset));
            assert_eq!(trust == Trust::Two, agreeing.count() > 1, "{says:?}");
        }
        let seconds = answer.map(|(answer, _)| answer.offset / 1_000_000);
        (seconds, asked)
    }

    #[test]
    fn two_servers_that_agree_are_believed_and_one_that_is_alone_is_better_than_none() {
        assert_eq!(believe(&[Some(7), Some(7), Some(9)]), (Some(7), 2));
        let years = 500_000_000;
        assert_eq!(
            believe(&[Some(years), None, Some(7), Some(7)]),
            (Some(7), 4),
            "a server that is wrong is asked first"
        );
        assert_eq!(believe(&[None, Some(years)]), (Some(years), 2));
        assert_eq!(believe(&[None, None]), (None, 2));
        // Nearer to our own clock is not better.
        assert_eq!(
            believe(&[Some(1), Some(years), Some(years)]),
            (Some(years), 3)
        );
        // Nobody agrees.
        assert_eq!(believe(&[Some(years), Some(7), Some(-20)]), (Some(7), 3));
    }

    #[test]
    fn a_server_of_two_names_does_not_agree_with_itself() {
        let twice = [[10, 0, 0, 1]; 2].map(IpAddr::from);
        let mut asked = 0;
        believed(twice.into_iter(), |from| {
            asked += 1;
            Some(Answer { from, offset: 0 })
        });
        assert_eq!(asked, 1);
    }

    #[test]
    fn servers_are_asked_again_soon_and_ever_less() {
        let pauses = |told| [0, 1, 2, 3, 4, 5, 6, 7].map(|times| pause(told, times).as_secs());
        assert_eq!(pauses(Trust::None), [2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(
            pauses(Trust::One),
            [64, 128, 256, 512, 1024, 2048, 3600, 3600]
        );
        assert_eq!(pauses(Trust::Two), [3600; 8]);
    }

    /// What is made of a server that tells a time, in seconds since 1900 of which only the last 32 bits are sent.
    fn told(stamp: u32) -> u64 {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut room = [0; 48];
            let (_, from) = server.recv_from(&mut room).unwrap();
            let mut answer = [0; 48];
            // No leap, version 4, server; stratum 1; the client's stamp back; received and sent.
            (answer[0], answer[1]) = (0x24, 1);
            answer[24..32].copy_from_slice(&room[40..48]);
            for at in [32, 40] {
                answer[at..at + 4].copy_from_slice(&stamp.to_be_bytes());
            }
            server.send_to(&answer, from).unwrap();
        });
        let everything = Span {
            first: Duration::ZERO,
            last: Duration::MAX,
        };
        let answer = ask(address, everything, Duration::from_secs(20)).unwrap();
        thread.join().unwrap();
        answer.time(since_1970()).unwrap().as_secs()
    }

    #[test]
    fn what_a_server_says_is_taken_and_its_clock_may_begin_anew_in_2036() {
        /// Of the seconds since 1900, 1970 has so many.
        const UNIX: u64 = 2_208_988_800;
        let before = told(0xffff_0000);
        assert!(before.abs_diff(0xffff_0000 - UNIX) < 20, "{before}");
        let after = told(0x0001_0000);
        assert!(after.abs_diff(0x1_0001_0000 - UNIX) < 20, "{after}");
    }
}
