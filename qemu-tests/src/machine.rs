//! A machine with a disk. The disk and the firmware's variables persist from one start to the next, however the
//! machine ended, and the machine can be controlled while it runs. UEFI firmware or QEMU starts the system on the
//! disk.
//!
//! A power cut is a [`Guest`] that is dropped: QEMU is killed. The host still has what QEMU had written. So tests
//! find writes that the guest does in the wrong order or not at all, but not the loss of a disk's own cache.

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

/// The paths of the firmware and of its initial variables, in Debian's packages `ovmf` and `qemu-efi-aarch64`.
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
    /// The number of starts so far. Each start has its own log.
    starts: u32,
    /// A kernel that QEMU starts, with the rest of the disk's slot a. If `None`, UEFI firmware starts the disk.
    pub kernel: Option<PathBuf>,
    /// Memory in MiB.
    pub memory: u32,
    /// TCP ports of the guest that this host reaches.
    pub ports: Vec<u16>,
    /// The tap device of the machine's network card, if not QEMU's own network.
    pub tap: Option<Tap>,
    /// The time of its clock when it is switched on, such as `1980-01-01T00:00:00`. If `None`, this host's time.
    pub clock: Option<String>,
    /// Makes the number of executed instructions the machine's clock, so that runs can be compared: each instruction
    /// takes one nanosecond. While the machine waits for a device, its clock follows the host's. Writes to its disk
    /// are discarded.
    pub counted: bool,
    /// Further devices, as arguments for QEMU.
    pub devices: Vec<String>,
    /// Called with each line of the console.
    pub on_line: Option<OnLine>,
}

impl Machine {
    /// Creates a machine with a copy of a disk image and new variables. Its files are in `place`, and their names
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

    /// The machine's disk, which may be read and changed while the machine is off.
    pub fn disk(&self) -> PathBuf {
        self.place.join(format!("{}.disk", self.name))
    }

    fn vars(&self) -> PathBuf {
        self.place.join(format!("{}.vars", self.name))
    }

    /// Makes the disk larger than the image, as on a real device.
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

    /// Returns the QEMU arguments that differ between machines.
    fn words(&self) -> Vec<String> {
        let mut words = self.devices.clone();
        if let Some(time) = &self.clock {
            words.extend(["-rtc".to_owned(), format!("base={time}")]);
        }
        if self.counted {
            // The disk does not have to persist writes; otherwise, the host's disk would be measured.
            words.extend(["-icount", "shift=0", "-snapshot"].map(str::to_owned));
        }
        words
    }

    /// Switches the machine on.
    pub fn boot(&mut self, speed: Speed) -> Result<Running, GuestError> {
        self.starts += 1;
        let name = format!("{}-{}", self.name, self.starts);
        // The path of a Unix socket has at most 107 bytes.
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
            // QEMU counts the instructions of one processor only.
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
        // No other process may connect, and the path is not needed again.
        let _ = fs::remove_file(&qmp);
        Ok(Running {
            commands: commands?,
            guest,
            name,
        })
    }
}

/// A machine that is on. Dropping it cuts its power.
#[derive(Debug)]
pub struct Running {
    /// The machine's console and ports.
    pub guest: Guest,
    commands: Commands,
    name: String,
}

impl Running {
    /// Presses the reset button.
    pub fn reset(&mut self) -> Result<(), GuestError> {
        self.command("system_reset").map(drop)
    }

    /// Presses the power button, which asks the system inside to switch off.
    pub fn press_power(&mut self) -> Result<(), GuestError> {
        self.command("system_powerdown").map(drop)
    }

    /// Plugs the network cable in or out.
    pub fn link(&mut self, up: bool) -> Result<(), GuestError> {
        self.link_of("net", up)
    }

    /// Plugs the cable of another network in or out, by QEMU's name for the network.
    pub fn link_of(&mut self, network: &str, up: bool) -> Result<(), GuestError> {
        let arguments = json!({ "name": network, "up": up });
        self.command_with("set_link", arguments).map(drop)
    }

    /// Returns QEMU's run state: `running`, `shutdown`, ...
    pub fn status(&mut self) -> Result<String, GuestError> {
        let said = self.command("query-status")?;
        Ok(said["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for a QEMU event, such as `RESET` or `WATCHDOG`, after those that were waited for before.
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

/// A connection to QEMU's machine protocol (QMP): one line of JSON each way, with events in between.
#[derive(Debug)]
struct Commands {
    stream: BufReader<UnixStream>,
    /// The beginning of the next line.
    part: String,
    /// Events that arrived during other commands.
    events: Vec<Value>,
}

/// Time limit for QEMU's response to a command.
const ANSWER: Duration = Duration::from_secs(60);

impl Commands {
    fn connect(place: &Path, limit: Duration) -> io::Result<Commands> {
        let until = Instant::now() + limit;
        let stream = loop {
            match UnixStream::connect(place) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= until => return Err(error),
                // QEMU has just started; nothing signals that its socket exists.
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
        // If the time limit passes within a line, the next call reads the rest.
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
