//! A machine with a disk: its disk and its firmware's variables are its own and stay from one start to the next, whatever
//! ended it; and it can be commanded while it runs. UEFI firmware starts what is on the disk, or QEMU does.
//!
//! Power that is pulled is a [`Guest`] that is dropped: QEMU is killed where it stands. What it had written
//! is then in the host's memory for files, so this finds what a guest writes in a wrong order or not at all,
//! and not what a disk loses of its own cache.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arch::Arch;
use crate::console::OnLine;
use crate::guest::{Boot, Guest, GuestError, Spec, Starter, Tap};
use crate::slot;
use crate::speed::Speed;

/// Where Debian's packages `ovmf` and `qemu-efi-aarch64` have the firmware, and its variables as they are
/// new.
pub fn firmware(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::X86_64 => [
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.fd",
        ],
        Arch::Aarch64 => [
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/AAVMF/AAVMF_VARS.fd",
        ],
    }
}

/// A machine with a disk, on or off.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    arch: Arch,
    place: PathBuf,
    /// How often it was started: each start has a log.
    starts: u32,
    /// A kernel that QEMU starts with all else of the disk's slot a; without it, UEFI firmware starts the disk.
    pub kernel: Option<PathBuf>,
    /// In MiB.
    pub memory: u32,
    /// Ports of the guest (TCP) that this host reaches.
    pub ports: Vec<u16>,
    /// Where its network's cable ends, if not in a network of QEMU's own.
    pub tap: Option<Tap>,
    /// What its clock says when it is switched on, as `1980-01-01T00:00:00`; without it, this host's time.
    pub clock: Option<String>,
    /// Its time is the number of instructions that it has run, so that it can be compared from run to run: one
    /// takes a nanosecond, whatever it is. While it waits for a device time is the host's. What it writes is forgotten.
    pub counted: bool,
    /// Further devices, in words for QEMU.
    pub devices: Vec<String>,
    /// Is told each line of the console.
    pub on_line: Option<OnLine>,
}

impl Machine {
    /// A machine with a copy of a disk's image, and of variables that are new. Its files are in `place`, and
    /// begin with `name`.
    pub fn new(place: &Path, name: &str, arch: Arch, image: &Path) -> Result<Machine, GuestError> {
        let machine = Machine {
            name: name.to_owned(),
            arch,
            place: place.to_owned(),
            starts: 0,
            kernel: None,
            memory: 256,
            ports: Vec::new(),
            tap: None,
            clock: None,
            counted: false,
            devices: Vec::new(),
            on_line: None,
        };
        let [_, vars] = firmware(arch);
        fs::create_dir_all(place).map_err(file("make", place))?;
        copy(image, &machine.disk())?;
        copy(Path::new(vars), &machine.vars())?;
        Ok(machine)
    }

    /// Its disk, to be looked at and changed while it is off.
    pub fn disk(&self) -> PathBuf {
        self.place.join(format!("{}.disk", self.name))
    }

    fn vars(&self) -> PathBuf {
        self.place.join(format!("{}.vars", self.name))
    }

    /// Makes the disk larger than its image, as a device's is.
    pub fn enlarge(&self, bytes: u64) -> Result<(), GuestError> {
        let disk = self.disk();
        let opened = OpenOptions::new().write(true).open(&disk);
        opened
            .and_then(|opened| opened.set_len(bytes))
            .map_err(file("enlarge", &disk))
    }

    fn starter(&self) -> Result<Starter, GuestError> {
        let Some(kernel) = &self.kernel else {
            let [code, _] = firmware(self.arch);
            return Ok(Starter::Firmware {
                code: code.into(),
                vars: self.vars(),
            });
        };
        let initramfs = self.place.join(format!("{}.initramfs", self.name));
        let taken = slot::take(&self.disk(), &initramfs);
        Ok(Starter::Host {
            kernel: kernel.clone(),
            taken: taken.map_err(|source| GuestError::Slot {
                name: self.name.clone(),
                source,
            })?,
        })
    }

    /// What is not as it always is, in words for QEMU.
    fn words(&self) -> Vec<String> {
        let mut words = self.devices.clone();
        if let Some(time) = &self.clock {
            words.extend(["-rtc".to_owned(), format!("base={time}")]);
        }
        if self.counted {
            // Its disk is one whose writes need not last, or the host's own disk would be what is measured.
            words.extend(["-icount", "shift=0", "-snapshot"].map(str::to_owned));
        }
        words
    }

    /// Switches it on.
    pub fn boot(&mut self, speed: Speed) -> Result<Running, GuestError> {
        self.starts += 1;
        let name = format!("{}-{}", self.name, self.starts);
        // The name of a socket is at most 107 bytes long.
        let process = std::process::id();
        let qmp = std::env::temp_dir().join(format!("hearth-{process}-{name}.qmp"));
        let guest = Guest::start(&Spec {
            name: name.clone(),
            arch: self.arch,
            boot: Boot::Disk {
                starter: self.starter()?,
                disk: self.disk(),
                qmp: qmp.clone(),
            },
            devices: self.words(),
            memory: self.memory,
            // QEMU counts those of one processor only.
            cpus: if self.counted { 1 } else { 2 },
            ports: self.ports.clone(),
            tap: self.tap.clone(),
            logs: self.place.clone(),
            speed,
            on_line: self.on_line,
        })?;
        let commands = Commands::connect(&qmp, speed.scale(Duration::from_secs(10)));
        let commands = commands.map_err(|error| GuestError::Command {
            name: name.clone(),
            what: error.to_string(),
        });
        // No other process shall connect, and the name has no further use.
        let _ = fs::remove_file(&qmp);
        Ok(Running {
            commands: commands?,
            guest,
            name,
        })
    }
}

/// A machine that is on. Dropped, it loses its power.
#[derive(Debug)]
pub struct Running {
    /// Its console and ports.
    pub guest: Guest,
    commands: Commands,
    name: String,
}

impl Running {
    /// Presses the button that resets it.
    pub fn reset(&mut self) -> Result<(), GuestError> {
        self.command("system_reset").map(drop)
    }

    /// Presses the button that switches it off, which is a wish that the system inside sees.
    pub fn press_power(&mut self) -> Result<(), GuestError> {
        self.command("system_powerdown").map(drop)
    }

    /// Plugs the network's cable in, or pulls it.
    pub fn link(&mut self, up: bool) -> Result<(), GuestError> {
        self.link_of("net", up)
    }

    /// The same of another network, by QEMU's name for it.
    pub fn link_of(&mut self, network: &str, up: bool) -> Result<(), GuestError> {
        let arguments = json!({ "name": network, "up": up });
        self.command_with("set_link", arguments).map(drop)
    }

    /// `running`, `shutdown`, ...
    pub fn status(&mut self) -> Result<String, GuestError> {
        let said = self.command("query-status")?;
        Ok(said["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for an event of QEMU's, such as `RESET` or `WATCHDOG`, after those that were waited for before.
    pub fn event(&mut self, event: &str, limit: Duration) -> Result<Value, GuestError> {
        let limit = self.guest.speed().scale(limit);
        let found = self.commands.event(event, limit);
        found.map_err(|error| GuestError::Command {
            name: self.name.clone(),
            what: format!("no event {event} within {limit:?}: {error}"),
        })
    }

    fn command(&mut self, command: &str) -> Result<Value, GuestError> {
        self.command_with(command, json!({}))
    }

    fn command_with(&mut self, command: &str, arguments: Value) -> Result<Value, GuestError> {
        let said = self.commands.ask(command, arguments);
        said.map_err(|error| GuestError::Command {
            name: self.name.clone(),
            what: format!("{command}: {error}"),
        })
    }
}

/// QEMU's machine protocol: a line of JSON each way, and events in between.
#[derive(Debug)]
struct Commands {
    stream: BufReader<UnixStream>,
    /// What has come of the next line.
    part: String,
    /// What came while something else was waited for.
    events: Vec<Value>,
}

/// How long an answer to a command may take.
const ANSWER: Duration = Duration::from_secs(60);

impl Commands {
    fn connect(place: &Path, limit: Duration) -> io::Result<Commands> {
        let until = Instant::now() + limit;
        let stream = loop {
            match UnixStream::connect(place) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= until => return Err(error),
                // QEMU has just begun; nothing tells when it has made its socket.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut commands = Commands {
            stream: BufReader::new(stream),
            part: String::new(),
            events: Vec::new(),
        };
        let greeting = commands.line(ANSWER)?;
        if greeting["QMP"].is_null() {
            return Err(io::Error::other(format!("no greeting: {greeting}")));
        }
        commands.ask("qmp_capabilities", json!({}))?;
        Ok(commands)
    }

    fn line(&mut self, limit: Duration) -> io::Result<Value> {
        let limit = limit.max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        // If the time is up within a line, the rest of it comes later.
        if self.stream.read_line(&mut self.part)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&std::mem::take(&mut self.part))?)
    }

    fn ask(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let text = json!({ "execute": command, "arguments": arguments }).to_string();
        self.stream.get_mut().write_all(text.as_bytes())?;
        loop {
            let mut said = self.line(ANSWER)?;
            if !said["event"].is_null() {
                self.events.push(said);
            } else if said["error"].is_null() {
                return Ok(said["return"].take());
            } else {
                return Err(io::Error::other(said["error"].to_string()));
            }
        }
    }

    fn event(&mut self, name: &str, limit: Duration) -> io::Result<Value> {
        let until = Instant::now() + limit;
        loop {
            if let Some(place) = self.events.iter().position(|one| one["event"] == name) {
                let mut found = self.events.remove(place);
                return Ok(found["data"].take());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let event = self.line(left)?;
            self.events.push(event);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), GuestError> {
    fs::copy(from, to).map_err(file("copy", from))?;
    Ok(())
}

fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GuestError + use<> {
    let path = path.to_owned();
    move |source| GuestError::File {
        attempt,
        path,
        source,
    }
}
