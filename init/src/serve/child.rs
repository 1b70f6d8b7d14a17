//! The two children, their groups, what they print, and the socket on which the supervisor says how it is.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use hearth_sys::datagram;
use hearth_sys::spawn::{Spawn, spawn};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::text_of;
use crate::act::groups::Group;
use crate::act::{ActError, chain, file};
use crate::health::WORD_WITHIN;
use crate::kernel_log::{KernelLog, Level};
use crate::place::NOTIFY;
use crate::restarts::{Next, Restarts};

/// So many lines of a child go to the kernel's log in a second, whose memory is small. The supervisor keeps its
/// own log.
const LINES: u32 = 50;

/// A child.
#[derive(Debug)]
pub struct Service {
    /// What people call it.
    pub name: &'static str,
    /// It is what the machine is there for.
    pub vital: bool,
    /// Its deaths.
    pub restarts: Restarts,
    /// When it is started again.
    pub start_at: Option<Duration>,
    /// Where it lives, and all that it starts.
    pub group: Group,
    program: &'static str,
    args: &'static [&'static str],
    pid: Option<u32>,
    streams: Vec<Stream>,
    /// The last line it printed.
    last: String,
    /// The second that is counted, and lines in it.
    counted: (u64, u32),
}

#[derive(Debug)]
struct Stream {
    file: File,
    part: Vec<u8>,
}

impl Service {
    fn new(name: &'static str, vital: bool, program: &'static str, group: Group) -> Service {
        Service {
            name,
            vital,
            restarts: Restarts::default(),
            start_at: None,
            group,
            program,
            args: &[],
            pid: None,
            streams: Vec::new(),
            last: String::new(),
            counted: (0, 0),
        }
    }

    /// Its process, while it lives.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Starts it, in its group, where nobody else is left.
    ///
    /// # Errors
    /// If the group cannot be made, or the program not be started.
    fn start(&mut self, now: Duration, log: &mut KernelLog) -> Result<(), ActError> {
        self.start_at = None;
        // A start that fails is a life without length.
        self.restarts.started(now);
        self.group.make()?;
        if self.group.is_populated() {
            self.group.kill()?;
            log.notice(&format!("{}: what it left running was ended", self.name));
        }
        self.group.sweep();
        let mut env = vec![
            ("PATH", "/bin:/sbin".to_owned()),
            ("HOME", "/root".to_owned()),
        ];
        if self.vital {
            env.push(("NOTIFY_SOCKET", NOTIFY.to_owned()));
            env.push(("WATCHDOG_USEC", WORD_WITHIN.as_micros().to_string()));
        }
        let env = env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let mut child = spawn(Spawn {
            args: self.args.iter().map(Into::into).collect(),
            env: env.collect(),
            directory: Some("/".into()),
            cgroup: Some(self.group.open()?),
            ..Spawn::new(self.program.into())
        })
        .map_err(file("start", self.program))?;
        for stream in [child.stdout.take(), child.stderr.take()]
            .into_iter()
            .flatten()
        {
            fcntl(&stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|errno| file("listen to", self.program)(errno.into()))?;
            self.streams.push(Stream {
                file: stream.into(),
                part: Vec::new(),
            });
        }
        self.pid = Some(child.id());
        self.last.clear();
        Ok(())
    }

    /// Starts it; one that cannot be started has died, and is tried again.
    ///
    /// # Errors
    /// Why it was not started now.
    pub fn start_or_retry(&mut self, now: Duration, log: &mut KernelLog) -> Result<(), ActError> {
        self.start(now, log).inspect_err(|_| {
            // That there is no supervisor ends with the time it has to be ready.
            if let Next::Start(then) = self.restarts.died(now, false) {
                self.start_at = Some(then);
            }
        })
    }

    /// It has ended; the last that it said, for a message.
    pub fn buried(&mut self) -> String {
        self.pid = None;
        self.streams.clear();
        match self.last.is_empty() {
            true => String::new(),
            false => format!("; it said: {}", self.last),
        }
    }

    /// Sends it a signal, if it lives.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()) {
            // It may just have ended.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn take_output(&mut self, log: &mut KernelLog) {
        let mut lines = Vec::new();
        self.streams.retain_mut(|stream| stream.read(&mut lines));
        for line in lines {
            let second = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
                .map_or(0, |time| time.tv_sec().unsigned_abs());
            if self.counted.0 != second {
                self.counted = (second, 0);
            }
            self.counted.1 += 1;
            if self.counted.1 <= LINES {
                log.say(Level::Info, &format!("{}: {line}", self.name));
            }
            self.last = line;
        }
    }
}

impl Stream {
    /// Reads what is there; whether there may be more.
    fn read(&mut self, lines: &mut Vec<String>) -> bool {
        /// A longer line is cut.
        const LONGEST: usize = 1024;
        let mut room = [0; 4096];
        let open = match self.file.read(&mut room) {
            Ok(0) => false,
            Ok(count) => {
                for byte in &room[..count] {
                    match byte {
                        b'\n' => lines.push(line(&mut self.part)),
                        byte if self.part.len() < LONGEST => self.part.push(*byte),
                        _ => {}
                    }
                }
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        if !open && !self.part.is_empty() {
            lines.push(line(&mut self.part));
        }
        open
    }
}

fn line(part: &mut Vec<u8>) -> String {
    let line = String::from_utf8_lossy(part).trim_end().to_owned();
    part.clear();
    line
}

/// All of them, and the supervisor's word.
#[derive(Debug)]
pub struct Children {
    /// hearth-net.
    pub network: Service,
    /// The platform.
    pub supervisor: Service,
    notify: Option<UnixDatagram>,
}

impl Default for Children {
    fn default() -> Children {
        let network = Service::new("hearth-net", false, "/bin/hearth-net", Group("network"));
        let supervisor = Service::new("hearth", true, "/bin/hearth", Group("hearth"));
        Children {
            network,
            supervisor: Service {
                args: &["up", "--appliance"],
                ..supervisor
            },
            notify: None,
        }
    }
}

impl Children {
    /// Listens for the supervisor's word.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(&mut self) -> Result<(), ActError> {
        let socket = datagram::bind(Path::new(NOTIFY)).map_err(file("listen at", NOTIFY))?;
        socket
            .set_nonblocking(true)
            .map_err(file("listen at", NOTIFY))?;
        self.notify = Some(socket);
        Ok(())
    }

    /// What there is to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let streams = self.network.streams.iter().chain(&self.supervisor.streams);
        let notify = self.notify.iter().map(|socket| socket.as_fd());
        notify.chain(streams.map(|stream| stream.file.as_fd()))
    }

    /// When the next one is started.
    pub fn due(&self) -> Option<Duration> {
        let times = [self.network.start_at, self.supervisor.start_at];
        times.into_iter().flatten().min()
    }

    /// Starts whose time has come. One that cannot be started has died.
    pub fn start_due(&mut self, now: Duration, log: &mut KernelLog) {
        for service in [&mut self.network, &mut self.supervisor] {
            if service.start_at.is_none_or(|then| then > now) {
                continue;
            }
            match service.start_or_retry(now, log) {
                Ok(()) => log.notice(&format!("started {}", service.name)),
                Err(error) => log.error(&chain(&error)),
            }
        }
    }

    /// Takes what they have printed.
    pub fn take_output(&mut self, log: &mut KernelLog) {
        self.network.take_output(log);
        self.supervisor.take_output(log);
    }

    /// The next word of the supervisor. Others are not listened to.
    pub fn word(&self) -> Option<String> {
        let (socket, mut room) = (self.notify.as_ref()?, [0; 4096]);
        loop {
            // Nothing more, or nothing that can be read.
            let datagram = datagram::receive(socket.as_fd(), &mut room).ok()?;
            let supervisor = self.supervisor.pid.unwrap_or(0);
            if let Some(text) = text_of(&datagram, &room, supervisor) {
                return Some(text);
            }
        }
    }

    /// The child with this process id.
    pub fn of(&mut self, pid: i32) -> Option<&mut Service> {
        let pid = u32::try_from(pid).ok();
        let mut all = [&mut self.network, &mut self.supervisor].into_iter();
        all.find(|service| service.pid.is_some() && service.pid == pid)
    }
}
