//! Runs one program inside a machine and returns its exit status. `cargo xtask test guest` runs each test program so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_guest::{ENDED, JOB, Job, NOTHING, STARTED};

use crate::arch::Arch;
use crate::console::OnLine;
use crate::guest::{Boot, Guest, GuestError, Spec};
use crate::speed::Speed;
use hearth_image::initramfs::{Initramfs, InitramfsError, Owner};

/// Time limit from the start to the first program, and from its end to the machine's end, on an idle host.
const BOOT: Duration = Duration::from_secs(15);

/// The configuration of machines that run programs.
#[derive(Clone, Debug)]
pub struct Inside {
    /// The processor architecture.
    pub arch: Arch,
    /// A kernel that QEMU can start directly.
    pub kernel: PathBuf,
    /// `guest-init`, built for this architecture.
    pub init: PathBuf,
    /// Memory in MiB.
    pub memory: u32,
    /// The number of processors.
    pub cpus: u32,
    /// More arguments for QEMU, for further devices.
    pub devices: Vec<String>,
    /// The directory for archives and logs.
    pub place: PathBuf,
    /// Called with each line of the console.
    pub on_line: Option<OnLine>,
}

/// Why running a program inside a machine failed.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The machine failed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The machine's root file system cannot be made.
    #[error("cannot make the guest's root")]
    Root(#[from] InitramfsError),
    /// The program failed.
    #[error("{name}: the program inside ended with {status}; the console, {}, ends with:\n{tail}", log.display())]
    Failed {
        /// The machine.
        name: String,
        /// The exit status or the signal.
        status: String,
        /// The console's log file.
        log: PathBuf,
        /// The last lines of the console.
        tail: String,
    },
}

impl Inside {
    /// Measures how fast this host is: starts a machine that only has to end with a certain status. If this status
    /// does not arrive, no other would.
    pub fn measure(&self) -> Result<Speed, InsideError> {
        let begun = Instant::now();
        let name = format!("{}-nothing", self.arch.name());
        let quiet = Inside {
            on_line: None,
            ..self.clone()
        };
        let job = Job::new(&["/init", "--nothing"]);
        let mut guest = quiet.start(&name, &Initramfs::new(), &job, &[], Speed::UNKNOWN)?;
        let status = finished(&mut guest, Duration::ZERO)?;
        match status == format!("status {NOTHING}") {
            true => Ok(Speed::since(self.arch, begun)),
            false => Err(failed(&guest, &name, status)),
        }
    }

    /// Starts a machine with `root` and `job` in it, and waits until the job runs.
    pub fn start(
        &self,
        name: &str,
        root: &Initramfs,
        job: &Job,
        ports: &[u16],
        speed: Speed,
    ) -> Result<Guest, InsideError> {
        let mut root = root.clone();
        let init = fs::read(&self.init).map_err(|source| GuestError::File {
            attempt: "read",
            path: self.init.clone(),
            source,
        })?;
        root.file("/init", init, Owner::ROOT, 0o755)?;
        root.file(JOB, job.to_text().into_bytes(), Owner::ROOT, 0o600)?;
        let initramfs = self.place.join(format!("{name}.cpio.zst"));
        // Low compression is faster here, because the archive is unpacked only once.
        write(&initramfs, &root.archive_zstd(1)?)?;
        let guest = Guest::start(&Spec {
            name: name.to_owned(),
            arch: self.arch,
            boot: Boot::Kernel {
                kernel: self.kernel.clone(),
                initramfs,
                command_line: String::new(),
            },
            memory: self.memory,
            cpus: self.cpus,
            devices: self.devices.clone(),
            ports: ports.to_vec(),
            tap: None,
            logs: self.place.clone(),
            speed,
            on_line: self.on_line,
        })?;
        guest.expect(STARTED, BOOT)?;
        Ok(guest)
    }

    /// Runs `job` in a new machine. Fails if the job fails, or takes longer than `limit` (for an idle host).
    pub fn run(
        &self,
        name: &str,
        root: &Initramfs,
        job: &Job,
        limit: Duration,
        speed: Speed,
    ) -> Result<(), InsideError> {
        let mut guest = self.start(name, root, job, &[], speed)?;
        let status = finished(&mut guest, limit)?;
        match status == "status 0" {
            true => Ok(()),
            false => Err(failed(&guest, name, status)),
        }
    }
}

/// Waits for the end of the job and of the machine, and returns how the job ended.
fn finished(guest: &mut Guest, limit: Duration) -> Result<String, InsideError> {
    let line = guest.expect(ENDED, limit + BOOT)?;
    guest.wait_off(BOOT)?;
    let (_, status) = line.split_once(ENDED).unwrap_or_default();
    Ok(status.trim().to_owned())
}

fn failed(guest: &Guest, name: &str, status: String) -> InsideError {
    InsideError::Failed {
        name: name.to_owned(),
        status,
        log: guest.log().to_owned(),
        tail: guest.tail(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), GuestError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|source| GuestError::File {
            attempt: "write",
            path: path.to_owned(),
            source,
        })
}
