//! The boot, as data: what is done in which order, and what follows a step that failed. Knows no file,
//! process or clock; [`Walk`] is driven by the runner (`run.rs`) and by `--dry-run` (`dry.rs`) alike.

use std::collections::VecDeque;
use std::fmt;

use crate::facts::{Disk, Table};
use crate::place::{MOUNTS, Mount};

/// One step of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything moves from the initramfs into a tmpfs, and init starts itself anew there.
    Move,
    /// One of the file systems that every program expects.
    Mount(&'static Mount),
    /// The hardware's watchdog runs from here on.
    Watchdog,
    /// What the kernel is told to refuse.
    Harden,
    /// The loopback interface.
    Loopback,
    /// Groups for the children, and this process in a leaf.
    Groups,
    /// The disk this system was started from, which may come late.
    FindDisk,
    /// The selector's partition, read only, and a look at what its owner put there.
    MountEsp(Disk),
    /// Data's entry in the partition table, then the kernel's idea of it.
    GrowPartition(Disk),
    /// Whether the file on the selector's partition that asks for a factory reset can be taken away afterwards.
    TryReset(Disk),
    /// Data's file system.
    MountData(Disk),
    /// What it says of itself is repaired, as far as nobody needs to be asked.
    CheckData(Disk),
    /// It is unmounted, to be made anew.
    UnmountData,
    /// It is made anew from the pristine copy in the image.
    RemakeData(Disk),
    /// The file on the selector's partition that asked for a factory reset is removed.
    ClearReset(Disk),
    /// The file system is told that its partition is larger.
    GrowData(Disk),
    /// Memory takes the place of data.
    MemoryData,
    /// Init's own directories on data.
    Directories,
    /// The saved seed is replaced, then given to the kernel.
    Seed,
    /// The clock is set to the newest time that is known to have been.
    Clock,
    /// What the last kernel said before it died.
    Pstore,
    /// The settings that hold: those on the selector's partition, the last good copy, or the image's.
    Settings,
    /// Nothing writes to the root from here on.
    SealRoot,
    /// What became of this boot, for the others.
    Record,
    /// The network's process.
    StartNetwork,
    /// The platform.
    StartSupervisor,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// The disk.
    Found(Disk),
    /// What the selector's or the data partition asks for.
    Asked {
        /// Data shall be made anew.
        reset: bool,
    },
    /// It is known that what is there cannot be saved, for this reason.
    Lost(String),
    /// It failed, for this reason.
    Failed(String),
}

/// What has become of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Data {
    /// As it was left.
    #[default]
    Mounted,
    /// After repairs.
    Repaired,
    /// Made anew.
    Remade,
    /// In memory, until the power goes.
    Memory,
}

impl Data {
    /// As `boot.json` has it.
    pub fn name(self) -> &'static str {
        match self {
            Data::Mounted => "mounted",
            Data::Repaired => "repaired",
            Data::Remade => "remade",
            Data::Memory => "memory",
        }
    }
}

/// A boot on its way.
#[derive(Clone, Debug)]
pub struct Walk {
    next: VecDeque<Step>,
    /// The disk, once it is found.
    pub disk: Option<Disk>,
    /// What has become of data.
    pub data: Data,
    /// What went wrong, for people.
    pub reasons: Vec<String>,
    /// Who asked for a factory reset, if anybody did.
    reset: Option<Asker>,
}

/// Where a factory reset was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Esp,
    Data,
}

/// What ends a boot: without it nothing can be served, and a restart may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

impl Walk {
    /// The first steps, in the initramfs.
    pub fn before_the_move() -> Walk {
        let early = MOUNTS.iter().filter(|mount| mount.early);
        let mut steps: Vec<Step> = early.map(Step::Mount).collect();
        steps.push(Step::Move);
        Walk::of(steps)
    }

    /// All that follows, in the tmpfs.
    pub fn after_the_move() -> Walk {
        let mut steps: Vec<Step> = MOUNTS.iter().map(Step::Mount).collect();
        steps.extend([
            Step::Watchdog,
            Step::Harden,
            Step::Loopback,
            Step::Groups,
            Step::FindDisk,
        ]);
        Walk::of(steps)
    }

    fn of(steps: Vec<Step>) -> Walk {
        Walk {
            next: steps.into(),
            disk: None,
            data: Data::default(),
            reasons: Vec::new(),
            reset: None,
        }
    }

    /// What is to be done now; nothing is left after the last step.
    pub fn step(&mut self) -> Option<Step> {
        self.next.pop_front()
    }

    /// Takes how a step ended, and decides what follows.
    ///
    /// # Errors
    /// If the boot cannot go on.
    pub fn ended(&mut self, step: &Step, outcome: Outcome) -> Result<(), Fatal> {
        match outcome {
            Outcome::Done => self.done(step),
            Outcome::Found(disk) => self.found(disk),
            Outcome::Asked { reset } => self.asked(step, reset),
            Outcome::Lost(reason) => self.lost(step, &reason),
            Outcome::Failed(reason) => return self.failed(step, &reason),
        }
        Ok(())
    }

    fn done(&mut self, step: &Step) {
        match step {
            Step::CheckData(disk) => {
                self.data = Data::Repaired;
                self.reasons
                    .push("data was damaged, and has been repaired".to_owned());
                self.now([Step::MountData(disk.clone())]);
            }
            Step::RemakeData(disk) => {
                self.data = Data::Remade;
                let why = if self.reset.is_some() {
                    "data was made anew: a factory reset was asked for"
                } else {
                    "DATA WAS MADE ANEW: what was on it could not be repaired"
                };
                self.reasons.push(why.to_owned());
                let mut steps = vec![Step::MountData(disk.clone())];
                if self.reset == Some(Asker::Esp) {
                    steps.push(Step::ClearReset(disk.clone()));
                }
                self.now(steps);
            }
            Step::TryReset(disk) => self.now([Step::RemakeData(disk.clone())]),
            Step::MountData(disk) => self.now([Step::GrowData(disk.clone())]),
            Step::MemoryData => self.data = Data::Memory,
            _ => {}
        }
    }

    fn found(&mut self, disk: Disk) {
        self.now([
            Step::MountEsp(disk.clone()),
            Step::GrowPartition(disk.clone()),
        ]);
        self.next.extend(with_data());
        self.disk = Some(disk);
    }

    /// Data follows the look at the selector's partition, and may be made anew after a look at itself.
    fn asked(&mut self, step: &Step, reset: bool) {
        match step {
            Step::MountEsp(disk) => {
                self.reset = reset.then_some(Asker::Esp);
                let grow = self.next.pop_front();
                let data = match reset {
                    true => Step::TryReset(disk.clone()),
                    false => Step::MountData(disk.clone()),
                };
                self.now(grow.into_iter().chain([data]));
            }
            Step::MountData(disk) if reset && self.data != Data::Remade => {
                self.reset = Some(Asker::Data);
                self.now([Step::UnmountData, Step::RemakeData(disk.clone())]);
            }
            Step::MountData(_) => self.done(step),
            _ => {}
        }
    }

    /// Only what is lost is made anew.
    fn lost(&mut self, step: &Step, reason: &str) {
        if let Step::CheckData(disk) = step {
            self.reasons.push(format!("{step}: {reason}"));
            self.now([Step::RemakeData(disk.clone())]);
        }
    }

    fn failed(&mut self, step: &Step, reason: &str) -> Result<(), Fatal> {
        let told = format!("cannot {step}: {reason}");
        match step {
            // Without these no program runs.
            Step::Move | Step::MemoryData | Step::Groups | Step::StartSupervisor => {
                return Err(Fatal(told));
            }
            Step::Mount(mount) if mount.needed => return Err(Fatal(told)),
            // A machine may have none, and the functions of the image are served all the same.
            Step::Mount(_) | Step::Watchdog => {}
            Step::FindDisk => {
                self.reasons
                    .push(format!("NO DISK, nothing is kept: {reason}"));
                self.now([Step::MemoryData]);
                self.next.extend(with_data());
            }
            Step::MountEsp(_) => {
                self.reasons.push(told);
                self.asked(step, false);
            }
            // A wish that stays would be one at every boot.
            Step::TryReset(disk) => {
                self.reset = None;
                self.reasons.push(told);
                self.reasons
                    .push("NO FACTORY RESET: what asks for it could not be removed".to_owned());
                self.now([Step::MountData(disk.clone())]);
            }
            Step::MountData(disk) => match self.data {
                Data::Mounted => {
                    self.reasons.push(told);
                    self.now([Step::CheckData(disk.clone())]);
                }
                // It is sound, and this kernel may be what is not.
                Data::Repaired | Data::Remade | Data::Memory => self.give_data_up(told),
            },
            // Nothing is known of it, so it stays as it is.
            Step::CheckData(_) | Step::RemakeData(_) => self.give_data_up(told),
            Step::UnmountData => {
                // It stays as it is, and the wish stands for the next boot.
                self.reasons.push(told);
                if let Some(Step::RemakeData(_)) = self.next.front() {
                    self.next.pop_front();
                }
            }
            Step::Harden
            | Step::Loopback
            | Step::GrowPartition(_)
            | Step::ClearReset(_)
            | Step::GrowData(_)
            | Step::Directories
            | Step::Seed
            | Step::Clock
            | Step::Pstore
            | Step::Settings
            | Step::SealRoot
            | Step::Record
            | Step::StartNetwork => self.reasons.push(told),
        }
        Ok(())
    }

    fn give_data_up(&mut self, told: String) {
        self.reasons.push(told);
        self.reasons
            .push("NO DATA, nothing is kept: the disk does not work".to_owned());
        self.next
            .retain(|step| !matches!(step, Step::ClearReset(_)));
        self.now([Step::MemoryData]);
    }

    /// Puts steps before those that are left.
    fn now(&mut self, steps: impl IntoIterator<Item = Step>) {
        let steps: Vec<Step> = steps.into_iter().collect();
        for step in steps.into_iter().rev() {
            self.next.push_front(step);
        }
    }
}

/// What follows once /data is there, of whatever kind.
fn with_data() -> [Step; 9] {
    [
        Step::Directories,
        Step::Clock,
        Step::Seed,
        Step::Pstore,
        Step::Settings,
        Step::SealRoot,
        Step::Record,
        Step::StartNetwork,
        Step::StartSupervisor,
    ]
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Move => f.write_str("move from the initramfs into a tmpfs"),
            Step::Mount(mount) => mount.fmt(f),
            Step::Watchdog => f.write_str("start the watchdog"),
            Step::Harden => f.write_str("set the kernel's limits (sysctl)"),
            Step::Loopback => f.write_str("bring the loopback interface up"),
            Step::Groups => f.write_str("make control groups"),
            Step::FindDisk => f.write_str("find the disk that was started from"),
            Step::MountEsp(disk) => write!(f, "mount {} at /boot (vfat, read only)", disk.esp),
            Step::GrowPartition(disk) => match disk.table {
                Table::Gpt => write!(f, "grow {} in the partition table (GPT)", disk.data),
                Table::Mbr => write!(f, "grow {} in the partition table (MBR)", disk.data),
            },
            Step::TryReset(disk) => write!(f, "write to factory-reset on {}", disk.esp),
            Step::MountData(disk) => {
                write!(f, "mount {} at /data (ext4, nosuid, nodev)", disk.data)
            }
            Step::CheckData(disk) => write!(f, "check and repair {}", disk.data),
            Step::UnmountData => f.write_str("unmount /data"),
            Step::RemakeData(disk) => write!(f, "make {} anew", disk.data),
            Step::ClearReset(disk) => write!(f, "remove factory-reset from {}", disk.esp),
            Step::GrowData(disk) => write!(f, "grow the file system on {}", disk.data),
            Step::MemoryData => f.write_str("mount memory at /data (tmpfs)"),
            Step::Directories => f.write_str("make the system's directories on /data"),
            Step::Seed => f.write_str("seed the kernel's chance"),
            Step::Clock => f.write_str("set the clock's floor"),
            Step::Pstore => f.write_str("keep what the last kernel said (pstore)"),
            Step::Settings => f.write_str("choose the settings (device.yaml)"),
            Step::SealRoot => f.write_str("make the root read only"),
            Step::Record => f.write_str("write /run/hearth/boot.json"),
            Step::StartNetwork => f.write_str("start hearth-net"),
            Step::StartSupervisor => f.write_str("start hearth up --appliance"),
        }
    }
}
