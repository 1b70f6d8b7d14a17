//! `hearth image run`: runs an image in a virtual machine, as it would run from a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hearth_image::{Arch, Board, Firmware};

use super::args::Run;
use super::firmware::Tools;
use super::system::system;
use super::watch;
use crate::out::{self, Outcome};
use crate::up::own_program;

/// Minimum size of the machine's disk in bytes. The data partition grows on the first boot, as on a real disk.
const DISK: u64 = 1 << 30;

pub(crate) fn run(args: &Run) -> anyhow::Result<Outcome> {
    let system = system(&args.image)?;
    let board = system.board;
    if board.firmware() == Firmware::Pi {
        bail!(
            "{} is an image for {board}: QEMU has no firmware of a Raspberry Pi. The same functions in an \
             image for qemu-aarch64 run here",
            args.image.display()
        );
    }
    let tools = Tools::find(board.arch())?;
    let (disk, variables) = match args.keep {
        true => kept(&args.image, &tools)?,
        false => (
            forgotten(&args.image, Some(DISK))?,
            forgotten(&tools.variables, None)?,
        ),
    };
    let ports = [
        (port("--http", args.http)?, 80),
        (port("--https", args.https)?, 443),
    ];
    ensure!(
        ports[0].0 != ports[1].0,
        "--http and --https want the same port, {}",
        ports[0].0
    );
    out::talk(format_args!(
        "hearth {} for {board}, in a virtual machine; Ctrl-A X ends it",
        system.version
    ));
    for (port, inside) in ports {
        std::thread::spawn(move || tell(port, inside == 443));
    }
    let mut machine = Machine {
        board,
        memory: args.memory,
        code: &tools.code,
        variables: &variables.path,
        disk: &disk.path,
        ports,
        accelerated: is_accelerated(board.arch()),
    };
    let begun = Instant::now();
    let (mut status, gave_up) = start(&tools.qemu, &machine)?;
    let refused = !status.success() && begun.elapsed() < AT_ONCE;
    if machine.accelerated && (refused || gave_up) {
        // In many virtual machines, /dev/kvm exists but does not work.
        out::talk("this machine's KVM does not carry it: emulated instead");
        machine.accelerated = false;
        (status, _) = start(&tools.qemu, &machine)?;
    }
    if status.success() {
        return Ok(Outcome::Done);
    }
    out::talk(format_args!(
        "hearth: the virtual machine ended with {status}"
    ));
    Ok(Outcome::Failed)
}

/// If QEMU fails within this time, KVM has refused the machine's processor.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Runs a machine to its end. Returns the exit status of QEMU, and whether the accelerator gave up. QEMU ends with
/// this process, however that ends.
fn start(qemu: &Path, machine: &Machine<'_>) -> anyhow::Result<(ExitStatus, bool)> {
    let (ours, theirs) = watch::ends().context("cannot make a socket")?;
    let mut command = Command::new(own_program()?);
    command.arg("tied").arg(qemu).args(machine.arguments());
    command.args(watch::words(&theirs));
    let mut child = command.spawn().context("cannot run QEMU")?;
    drop(theirs);
    let gave_up = watch::gave_up(ours);
    Ok((child.wait().context("cannot wait for QEMU")?, gave_up))
}

/// A file, and the path at which another process opens it.
#[derive(Debug)]
struct Opened {
    /// Kept open, because the path leads through this descriptor.
    _file: Option<File>,
    path: PathBuf,
}

/// An unnamed copy of a file, with at least `len` bytes. It is deleted when no process has it open any more.
fn forgotten(from: &Path, len: Option<u64>) -> anyhow::Result<Opened> {
    let place = std::env::temp_dir().join(format!("hearth-run-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let copy = || -> io::Result<File> {
        let mut file = options.open(&place)?;
        fs::remove_file(&place)?;
        io::copy(&mut File::open(from)?, &mut file)?;
        if let Some(len) = len {
            let own = file.metadata()?.len();
            file.set_len(own.max(len))?;
        }
        Ok(file)
    };
    let file = copy().with_context(|| {
        let (from, place) = (from.display(), place.display());
        format!("cannot copy {from} to {place}")
    })?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Ok(Opened {
        _file: Some(file),
        path: path.into(),
    })
}

/// The image itself, at least as large as `DISK`, and a file with the firmware's variables beside it.
fn kept(image: &Path, tools: &Tools) -> anyhow::Result<(Opened, Opened)> {
    let shown = image.display();
    let file = OpenOptions::new().write(true).open(image);
    let file = file.with_context(|| format!("cannot write {shown}"))?;
    if file.metadata()?.len() < DISK {
        file.set_len(DISK)
            .with_context(|| format!("cannot make {shown} as large as a disk"))?;
        out::talk(format_args!("{shown} is a disk of 1 GiB from now on"));
    }
    let mut variables = image.as_os_str().to_owned();
    variables.push(".vars");
    let variables = PathBuf::from(variables);
    let len = |path: &Path| fs::metadata(path).ok().map(|found| found.len());
    // Variables of another size are those of another board's firmware, which this firmware cannot use.
    if len(&variables) != len(&tools.variables) {
        fs::copy(&tools.variables, &variables)
            .with_context(|| format!("cannot write {}", variables.display()))?;
    }
    // In a relative path, QEMU takes what precedes a colon for a protocol.
    let of = |path: &Path| -> anyhow::Result<Opened> {
        let path = std::path::absolute(path)?;
        Ok(Opened { _file: None, path })
    };
    Ok((of(image)?, of(&variables)?))
}

/// The port that an option names, or a free one. The port was free when it was tried.
fn port(option: &str, named: Option<u16>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, named.unwrap_or(0)));
    let listener = listener.with_context(|| match named {
        Some(port) => format!("port {port} of this machine cannot be had; {option} names another"),
        None => "no port is free".to_owned(),
    })?;
    Ok(listener.local_addr()?.port())
}

/// Whether this machine's processor can run the image, with KVM.
fn is_accelerated(arch: Arch) -> bool {
    let usable = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    std::env::consts::ARCH == arch.name() && usable.is_ok()
}

/// A virtual machine, and its arguments for QEMU.
struct Machine<'a> {
    board: Board,
    memory: u64,
    code: &'a Path,
    variables: &'a Path,
    disk: &'a Path,
    /// Pairs of a port on this machine and a port in the virtual machine.
    ports: [(u16, u16); 2],
    accelerated: bool,
}

impl Machine<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |some: &[&str]| words.extend(some.iter().map(|word| (*word).to_owned()));
        let (machine, emulated) = match self.board.arch() {
            Arch::X86_64 => ("q35", "max"),
            Arch::Aarch64 => ("virt", "cortex-a72"),
        };
        let (accelerator, processor) = match self.accelerated {
            true => ("kvm", "host"),
            false => ("tcg", emulated),
        };
        add(&[
            "-machine",
            machine,
            "-accel",
            accelerator,
            "-cpu",
            processor,
        ]);
        add(&["-smp", "2", "-m", &format!("{}M", self.memory >> 20)]);
        // QEMU needs a comma in a value to be doubled.
        let path = |path: &Path| path.display().to_string().replace(',', ",,");
        let flash = "if=pflash,format=raw,unit";
        let code = path(self.code);
        add(&["-drive", &format!("{flash}=0,readonly=on,file={code}")]);
        let variables = path(self.variables);
        add(&["-drive", &format!("{flash}=1,file={variables}")]);
        let disk = path(self.disk);
        add(&["-drive", &format!("if=none,id=disk,format=raw,file={disk}")]);
        // The devices of the board, or similar ones.
        let (disk, card) = match self.board {
            Board::QemuX86_64 | Board::QemuAarch64 => ("virtio-blk-pci", "virtio-net-pci"),
            Board::Nuc | Board::Rpi4 => ("ide-hd", "e1000e"),
        };
        add(&["-device", &format!("{disk},drive=disk,bootindex=0")]);
        let forwards = self
            .ports
            .map(|(here, there)| format!("hostfwd=tcp:127.0.0.1:{here}-:{there}"));
        add(&["-netdev", &format!("user,id=net,{}", forwards.join(","))]);
        // Without the card's boot ROM, which would boot from the network.
        add(&["-device", &format!("{card},netdev=net,romfile=")]);
        add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
        add(&["-device", "virtio-rng-pci"]);
        add(&["-display", "none", "-serial", "mon:stdio"]);
        words
    }
}

/// Interval between two attempts to reach the platform.
const PAUSE: Duration = Duration::from_millis(250);

/// Timeout for a connection or a response. An emulated machine under load needs that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until this port answers, and prints its URL.
fn tell(port: u16, encrypted: bool) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // QEMU itself accepts connections from the start, so only a response counts. A TLS server answers a ClientHello
    // that is malformed (RFC 8446, section 4.1.2) with an alert.
    let (scheme, ask, answer): (&str, &[u8], &[&[u8]]) = match encrypted {
        true => (
            "https",
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            &[b"\x15\x03", b"\x16\x03"],
        ),
        false => ("http", b"GET / HTTP/1.0\r\n\r\n", &[b"HT"]),
    };
    let answers = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(ask)?;
        let mut first = [0; 2];
        stream.read_exact(&mut first)?;
        Ok(answer.contains(&&first[..]))
    };
    while !answers().unwrap_or(false) {
        std::thread::sleep(PAUSE);
    }
    out::talk(format_args!("{scheme}://127.0.0.1:{port}/ answers"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_what_its_board_has() {
        let machine = |board, accelerated| {
            let machine = Machine {
                board,
                memory: 96 << 20,
                code: Path::new("/code"),
                variables: Path::new("/vars"),
                disk: Path::new("/a,b.img"),
                ports: [(8080, 80), (8443, 443)],
                accelerated,
            };
            machine.arguments().join(" ")
        };
        let words = machine(Board::QemuX86_64, false);
        for part in [
            "-machine q35 -accel tcg -cpu max",
            "-m 96M",
            "file=/a,,b.img",
            "virtio-blk-pci,drive=disk",
            "hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:8443-:443",
            "-device i6300esb -action watchdog=reset -device virtio-rng-pci",
            "unit=0,readonly=on,file=/code",
            "unit=1,file=/vars",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(machine(Board::Nuc, true).contains("-accel kvm -cpu host"));
        assert!(machine(Board::Nuc, true).contains("ide-hd,drive=disk"));
        let words = machine(Board::QemuAarch64, false);
        assert!(words.contains("-machine virt -accel tcg -cpu cortex-a72"));
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_option() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = taken.local_addr().unwrap().port();
        let error = port("--https", Some(taken)).unwrap_err().to_string();
        assert!(
            error.contains(&taken.to_string()) && error.contains("--https"),
            "{error}"
        );
        assert_ne!(port("--https", None).unwrap(), taken);
    }

    #[test]
    fn kept_variables_are_those_of_the_boards_firmware() {
        let place = std::env::temp_dir().join(format!("hearth-kept-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let (image, variables) = (place.join("a.img"), place.join("a.img.vars"));
        let tools = Tools {
            qemu: "/qemu".into(),
            code: "/code".into(),
            variables: place.join("fresh"),
        };
        fs::write(&tools.variables, b"fresh").unwrap();
        fs::write(&image, b"").unwrap();
        fs::write(&variables, b"of another board").unwrap();
        let (disk, store) = kept(&image, &tools).unwrap();
        assert_eq!(fs::read(&store.path).unwrap(), b"fresh");
        assert!(disk.path.is_absolute());
        assert_eq!(fs::metadata(&image).unwrap().len(), DISK);
        // Variables that the firmware has written are kept.
        fs::write(&variables, b"since").unwrap();
        let (_, store) = kept(&image, &tools).unwrap();
        assert_eq!(fs::read(&store.path).unwrap(), b"since");
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_forgotten_copy_is_written_by_others_and_leaves_nothing() {
        let from = std::env::temp_dir().join(format!("hearth-from-{}", std::process::id()));
        fs::write(&from, b"abc").unwrap();
        let copy = forgotten(&from, Some(10)).unwrap();
        fs::remove_file(&from).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&copy.path)
            .and_then(|mut file| file.write_all(b"x"))
            .unwrap();
        assert_eq!(fs::read(&copy.path).unwrap(), b"xbc\0\0\0\0\0\0\0");
        let leads = fs::read_link(&copy.path).unwrap();
        assert!(leads.to_string_lossy().ends_with(" (deleted)"));
    }
}
