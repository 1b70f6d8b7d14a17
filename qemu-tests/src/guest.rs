//! One virtual machine, from start to end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hearth_sys::spawn::{Child, Spawn, spawn};

use crate::arch::{self, Arch};
use crate::console::{Console, Missing, OnLine};
use crate::speed::Speed;
use crate::{pi, slot, timings};

/// Searches `PATH` for a program.
fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| program.into())
}

/// Why a machine failed. Console errors name the log file and include its last lines.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file that the machine needs.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The host has no free port.
    #[error("no port of the host is free for the guest's port {port}")]
    Port {
        /// The guest's port.
        port: u16,
        /// The cause.
        source: io::Error,
    },
    /// QEMU is not installed, or cannot be run.
    #[error("cannot run {program} (cargo xtask qemu installs it)")]
    Start {
        /// QEMU's program for this architecture.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A marker did not appear in time.
    #[error("{name}: no {marker:?} within {limit:?}; the console, {}, ends with:\n{tail}", log.display())]
    Late {
        /// The machine.
        name: String,
        /// The marker.
        marker: String,
        /// The time limit, scaled for this host.
        limit: Duration,
        /// The console's log file.
        log: PathBuf,
        /// The last lines of the console.
        tail: String,
    },
    /// The machine ended before a marker appeared.
    #[error("{name}: ended without {marker:?}; the console, {}, ends with:\n{tail}", log.display())]
    Ended {
        /// The machine.
        name: String,
        /// The marker.
        marker: String,
        /// The console's log file.
        log: PathBuf,
        /// The last lines of the console.
        tail: String,
    },
    /// The system on the machine's disk cannot be started.
    #[error("{name}: its disk cannot be started")]
    Slot {
        /// The machine.
        name: String,
        /// The cause.
        source: slot::SlotError,
    },
    /// QEMU rejected a command, or did not answer.
    #[error("{name}: cannot command QEMU: {what}")]
    Command {
        /// The machine.
        name: String,
        /// The command or event, and the error.
        what: String,
    },
    /// Waiting for the QEMU process failed.
    #[error("cannot wait for QEMU")]
    Wait(#[source] io::Error),
}

/// What a machine starts from.
#[derive(Clone, Debug)]
pub enum Boot {
    /// A kernel that QEMU starts directly. Such a machine exits instead of restarting.
    Kernel {
        /// A kernel that QEMU can start.
        kernel: PathBuf,
        /// The archive with its root file system; [`crate::Initramfs`] makes one.
        initramfs: PathBuf,
        /// More arguments for the kernel's command line.
        command_line: String,
    },
    /// A disk; see [`crate::Machine`].
    Disk {
        /// What starts the system on the disk.
        starter: Starter,
        /// The disk.
        disk: PathBuf,
        /// Path of the socket for QEMU's machine protocol (QMP).
        qmp: PathBuf,
    },
    /// A Raspberry Pi 4. This host does what its firmware would do; see [`crate::pi`]. QEMU's machine has no network,
    /// so neither has this one.
    Pi {
        /// What the firmware would have read from the card.
        taken: pi::Taken,
        /// The card. QEMU requires that its size is a power of two.
        card: PathBuf,
    },
}

/// What starts the system on a disk.
#[derive(Clone, Debug)]
pub enum Starter {
    /// UEFI firmware.
    Firmware {
        /// The firmware's code, which is never written.
        code: PathBuf,
        /// The firmware's variables.
        vars: PathBuf,
    },
    /// QEMU, at each reset; see [`crate::slot`].
    Host {
        /// A kernel that QEMU can start.
        kernel: PathBuf,
        /// What this host has read from the disk.
        taken: slot::Taken,
    },
}

/// The configuration of a machine.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name in messages, and of the log file.
    pub name: String,
    /// The processor architecture.
    pub arch: Arch,
    /// What the machine starts from.
    pub boot: Boot,
    /// Memory in MiB.
    pub memory: u32,
    /// The number of processors. They share the host's processors.
    pub cpus: u32,
    /// More arguments for QEMU, for further devices.
    pub devices: Vec<String>,
    /// TCP ports of the guest that this host reaches through [`Guest::address`].
    pub ports: Vec<u16>,
    /// The tap device of the machine's network card, if not QEMU's own network.
    pub tap: Option<Tap>,
    /// The directory for the console's log, `NAME.log`.
    pub logs: PathBuf,
    /// How much to stretch time limits on this host.
    pub speed: Speed,
    /// Called with each line of the console.
    pub on_line: Option<OnLine>,
}

/// A tap device of this host, in the network namespace of the process that starts the machine.
#[derive(Clone, Debug)]
pub struct Tap {
    /// The device's name.
    pub name: String,
    /// The address that the machine will have in that network.
    pub address: IpAddr,
}

/// A running machine. Dropping it kills it. The kernel kills it when the *thread* that started it ends.
#[derive(Debug)]
pub struct Guest {
    name: String,
    child: Child,
    console: Console,
    ports: Vec<(u16, SocketAddr)>,
    speed: Speed,
    started: Instant,
    /// The time from the start to the first line that a test waited for.
    boot: OnceLock<Duration>,
}

impl Guest {
    /// Starts a machine, and returns at once.
    pub fn start(spec: &Spec) -> Result<Guest, GuestError> {
        let log = spec.logs.join(format!("{}.log", spec.name));
        let written = |source| GuestError::File {
            attempt: "write",
            path: log.clone(),
            source,
        };
        fs::create_dir_all(&spec.logs).map_err(written)?;
        let ports = match &spec.tap {
            None => free_ports(&spec.ports)?,
            Some(tap) => {
                let own = |port: &u16| (*port, SocketAddr::new(tap.address, *port));
                spec.ports.iter().map(own).collect()
            }
        };
        let program = arch::qemu(spec.arch);
        let started = Instant::now();
        let mut child = spawn(Spawn {
            args: arguments(spec, &ports)
                .into_iter()
                .map(OsString::from)
                .collect(),
            // `PATH` is for QEMU to find its files, `TMPDIR` for its temporary files.
            env: ["PATH", "TMPDIR"]
                .into_iter()
                .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
                .collect(),
            ..Spawn::new(found(program))
        })
        .map_err(|source| GuestError::Start { program, source })?;
        let mut streams: Vec<Box<dyn Read + Send>> = Vec::new();
        streams.extend(
            child
                .stdout
                .take()
                .map(|out| Box::new(File::from(out)) as _),
        );
        // QEMU's own error messages go into the machine's log.
        streams.extend(
            child
                .stderr
                .take()
                .map(|out| Box::new(File::from(out)) as _),
        );
        let console = match Console::read(streams, &log, spec.on_line) {
            Ok(console) => console,
            Err(error) => {
                end(&mut child);
                return Err(written(error));
            }
        };
        Ok(Guest {
            name: spec.name.clone(),
            child,
            console,
            ports,
            speed: spec.speed,
            started,
            boot: OnceLock::new(),
        })
    }

    /// Returns the address at which this host reaches a port of the guest.
    ///
    /// # Panics
    /// If the port is not among those of the [`Spec`].
    pub fn address(&self, port: u16) -> SocketAddr {
        let found = self.ports.iter().find(|(guest, _)| *guest == port);
        found.expect("a forwarded port is one of the spec").1
    }

    /// Waits for a line of the console that contains `marker`, after the line that was found last, and returns it.
    /// `limit` is for an idle host with two processors, and is stretched on a slower one.
    pub fn expect(&self, marker: &str, limit: Duration) -> Result<String, GuestError> {
        let limit = self.speed.scale(limit);
        let found = self.console.expect(marker, limit);
        self.booted();
        found.map_err(|missing| {
            let (name, marker) = (self.name.clone(), marker.to_owned());
            let (log, tail) = (self.console.log().to_owned(), self.console.tail());
            match missing {
                Missing::Late => GuestError::Late {
                    name,
                    marker,
                    limit,
                    log,
                    tail,
                },
                Missing::Ended => GuestError::Ended {
                    name,
                    marker,
                    log,
                    tail,
                },
            }
        })
    }

    /// Marks the end of the boot for the run's table of timings: the machine has done the first thing that a test
    /// waited for. [`Guest::expect`] calls this.
    pub fn booted(&self) {
        self.boot.get_or_init(|| self.started.elapsed());
    }

    /// Waits until the machine has switched itself off and all of its output is in the log.
    pub fn wait_off(&mut self, limit: Duration) -> Result<ExitStatus, GuestError> {
        let limit = self.speed.scale(limit);
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(GuestError::Wait)? {
                self.console.finish();
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(GuestError::Late {
                    name: self.name.clone(),
                    marker: "the machine's end".to_owned(),
                    limit,
                    log: self.console.log().to_owned(),
                    tail: self.console.tail(),
                });
            }
            // wait(2) has no timeout, so the child is polled at this interval.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns by how much time limits are stretched for this machine.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// Returns the path of the console's log file.
    pub fn log(&self) -> &Path {
        self.console.log()
    }

    /// Returns the last lines of the console.
    pub fn tail(&self) -> String {
        self.console.tail()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.child);
        self.console.finish();
        let total = self.started.elapsed();
        let boot = self.boot.get().copied().unwrap_or_default();
        timings::machine(&self.name, boot, total);
    }
}

fn end(child: &mut Child) {
    // The machine may already have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Finds a free port on the host's loopback for each of the guest's ports. The listeners are closed again so that
/// QEMU can bind the ports; the kernel does not give them out again so soon.
fn free_ports(guest: &[u16]) -> Result<Vec<(u16, SocketAddr)>, GuestError> {
    let free = |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok((listener.local_addr()?, listener, port))
    };
    let held: Vec<(SocketAddr, TcpListener, u16)> = guest
        .iter()
        .map(|port| {
            free(*port).map_err(|source| GuestError::Port {
                port: *port,
                source,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(held
        .into_iter()
        .map(|(address, _, port)| (port, address))
        .collect())
}

/// Returns QEMU's arguments.
fn arguments(spec: &Spec, ports: &[(u16, SocketAddr)]) -> Vec<String> {
    let mut arguments = words(match spec.boot {
        Boot::Pi { .. } => &["-machine", "raspi4b"],
        Boot::Kernel { .. } | Boot::Disk { .. } => arch::machine(spec.arch),
    });
    let (cpus, memory) = (spec.cpus.to_string(), spec.memory.to_string());
    arguments.extend(words(&["-smp", &cpus, "-m", &memory]));
    let console = ["-nodefaults", "-display", "none", "-serial", "stdio"];
    arguments.extend(words(&console));
    arguments.extend(boot(spec));
    arguments.extend(network(spec, ports));
    arguments.extend(spec.devices.iter().cloned());
    arguments
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns the arguments for what the machine starts from.
fn boot(spec: &Spec) -> Vec<String> {
    let direct = |kernel: &Path, initramfs: &Path, command_line: &str| {
        let (kernel, initramfs) = (kernel.to_string_lossy(), initramfs.to_string_lossy());
        words(&[
            "-kernel",
            &kernel,
            "-initrd",
            &initramfs,
            "-append",
            command_line,
        ])
    };
    match &spec.boot {
        Boot::Kernel {
            kernel,
            initramfs,
            command_line,
        } => {
            let serial = arch::serial(spec.arch);
            let append = format!(
                "console={serial} panic=-1 ip=10.0.2.15::10.0.2.2:255.255.255.0:hearth:eth0:off \
                 {command_line}"
            );
            let mut once = words(&["-no-reboot"]);
            once.extend(direct(kernel, initramfs, append.trim_end()));
            once
        }
        Boot::Disk { starter, disk, qmp } => {
            // If QEMU starts a kernel directly, the kernel comes first in the boot order.
            let (mut all, first) = match starter {
                Starter::Firmware { code, vars } => {
                    let flash = |unit: u8, path: &Path, more: &str| {
                        let file = path.display();
                        format!("if=pflash,format=raw,unit={unit}{more},file={file}")
                    };
                    let (code, vars) = (flash(0, code, ",readonly=on"), flash(1, vars, ""));
                    (words(&["-drive", &code, "-drive", &vars]), ",bootindex=0")
                }
                Starter::Host { kernel, taken } => {
                    (direct(kernel, &taken.initramfs, &taken.command_line), "")
                }
            };
            let disk = disk.display();
            all.extend(words(&[
                "-drive",
                &format!("if=none,id=disk,format=raw,discard=unmap,file={disk}"),
                "-device",
                &format!("virtio-blk-pci,drive=disk{first}"),
                // The watchdog.
                "-device",
                "i6300esb",
                "-action",
                "watchdog=reset",
                "-qmp",
                &format!("unix:{},server=on,wait=off", qmp.display()),
            ]));
            all
        }
        Boot::Pi { taken, card } => {
            let (devices, card) = (taken.devices.to_string_lossy(), card.display());
            let card = format!("if=sd,format=raw,file={card}");
            let mut pi = words(&["-no-reboot", "-dtb", &devices, "-drive", &card]);
            pi.extend(direct(&taken.kernel, &taken.initramfs, &taken.command_line));
            pi
        }
    }
}

/// Returns the arguments for the network. A kernel that QEMU starts directly has a fixed address in an isolated
/// network without DHCP. A system on a disk finds a DHCP server, and this host at 10.0.2.2.
fn network(spec: &Spec, ports: &[(u16, SocketAddr)]) -> Vec<String> {
    let own = match spec.boot {
        Boot::Kernel { .. } => "user,id=net,restrict=on,ipv6=off",
        Boot::Disk { .. } => "user,id=net",
        Boot::Pi { .. } => return Vec::new(),
    };
    let forwards = ports
        .iter()
        .map(|(guest, host)| format!(",hostfwd=tcp:{host}-:{guest}"));
    let network = match &spec.tap {
        None => own.to_owned() + &forwards.collect::<String>(),
        Some(Tap { name, .. }) => format!("tap,id=net,ifname={name},script=no,downscript=no"),
    };
    let card = "virtio-net-pci,netdev=net,romfile=";
    // Without a source of entropy, the guest would block on it.
    let chance = ["-device", "virtio-rng-pci"];
    let mut all = words(&["-netdev", &network, "-device", card]);
    all.extend(words(&chance));
    all
}
