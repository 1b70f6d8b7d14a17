//! The runner: asks the plan for a step, does it, says a line, and tells the plan how it ended.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::act::{
    ActError, Feeder, chain, clock, data, disk, file, groups, loopback, mounts, pstore, root, seed,
    settings, sysctl, text,
};
use crate::facts::Release;
use crate::kernel_log::KernelLog;
use crate::place::{BOOT_RECORD, RELEASE, RUN};
use crate::plan::{Data, Fatal, Outcome, Step, Walk};
use crate::serve::Children;

/// A boot that is done, or on its way.
#[derive(Debug)]
pub struct Runner {
    /// Where everything is said.
    pub log: KernelLog,
    /// The hardware's watchdog.
    pub feeder: Feeder,
    /// What runs beside init.
    pub children: Children,
    /// The kernel's command line.
    pub command_line: String,
    /// The image's word on itself.
    pub release: Release,
    /// The firmware does not repeat this boot.
    pub trial: bool,
    /// What the last kernel said.
    pub died: pstore::Found,
    /// What is wrong, for people.
    pub reasons: Vec<String>,
    /// What has become of data.
    pub data: Data,
    /// `a`, `b` or `none`.
    pub slot: &'static str,
    /// A time that was, in seconds since 1970: of the image, of the last boot, or of servers ...
    floor: u64,
    /// ... then.
    floor_at: Instant,
    /// Where data is, unless that is memory.
    pub partition: Option<String>,
    /// When this program began.
    pub begun: Instant,
}

impl Runner {
    /// Nothing is done yet.
    pub fn new() -> Runner {
        Runner {
            log: KernelLog::open("hearth-init"),
            feeder: Feeder::default(),
            children: Children::default(),
            command_line: String::new(),
            release: Release::default(),
            trial: false,
            died: pstore::Found::default(),
            reasons: Vec::new(),
            data: Data::default(),
            slot: "none",
            floor: 0,
            floor_at: Instant::now(),
            partition: None,
            begun: Instant::now(),
        }
    }

    /// Time since this program began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The clock is right, by servers.
    pub fn raise_floor(&mut self) {
        (self.floor, self.floor_at) = (clock::now(), Instant::now());
    }

    /// The time that is known to have been, now, in seconds since 1970; a clock that nobody has set is not asked.
    pub fn known_time(&self) -> u64 {
        self.floor.saturating_add(self.floor_at.elapsed().as_secs())
    }

    /// Does all steps of a walk.
    ///
    /// # Errors
    /// If the boot cannot go on.
    pub fn walk(&mut self, mut walk: Walk) -> Result<(), Fatal> {
        while let Some(step) = walk.step() {
            // Each may take its time, and all of them together more than the watchdog waits.
            self.feeder.feed();
            let begun = Instant::now();
            let outcome = match self.act(&step, &walk) {
                Ok((outcome, more)) => {
                    let took = begun.elapsed().as_millis();
                    let more = more.map_or(String::new(), |more| format!(": {more}"));
                    self.log.notice(&format!("{step}{more} ({took} ms)"));
                    outcome
                }
                Err(error) => {
                    let reason = chain(&error);
                    match &step {
                        Step::Mount(mount) if !mount.needed => {
                            self.log.notice(&format!("no {}: {reason}", mount.kind));
                        }
                        // What is in the record is said from there.
                        Step::Watchdog => self.log.error(&format!("cannot {step}: {reason}")),
                        _ => {}
                    }
                    Outcome::Failed(reason)
                }
            };
            let told = walk.reasons.len();
            walk.ended(&step, outcome)?;
            for reason in &walk.reasons[told..] {
                self.log.error(reason);
            }
        }
        self.reasons.append(&mut walk.reasons);
        Ok(())
    }

    /// Does one step; how it ended, and what is worth saying of it.
    fn act(&mut self, step: &Step, walk: &Walk) -> Result<(Outcome, Option<String>), ActError> {
        let done = |more: Option<String>| Ok((Outcome::Done, more));
        match step {
            Step::Move => {
                self.log.notice("move from the initramfs into a tmpfs");
                match root::move_over()? {}
            }
            Step::Mount(mount) => {
                mounts::of_table(mount)?;
                match mount.place {
                    "/proc" => self.read_command_line(),
                    // Only now there is a log.
                    "/dev" => self.log = KernelLog::open("hearth-init"),
                    "/run" => std::fs::create_dir_all(RUN).map_err(file("make", RUN))?,
                    _ => {}
                }
                done(None)
            }
            Step::Watchdog => done(self.feeder.start().map(|()| None)?),
            Step::Harden => done(sysctl::set().map(|()| None)?),
            Step::Loopback => done(loopback::up().map(|()| None)?),
            Step::Groups => done(groups::make().map(|()| None)?),
            Step::FindDisk => {
                let origin = disk::origin(&self.command_line);
                self.trial = disk::is_trial(&self.command_line);
                let found = disk::find(origin.as_ref(), &mut self.feeder)?;
                self.slot = found.slot.name();
                let more = format!("{}, slot {}", found.name, self.slot);
                Ok((Outcome::Found(found), Some(more)))
            }
            Step::MountEsp(disk) => {
                let reset = mounts::esp(&disk.esp)?;
                let more = reset.then(|| "it asks for a factory reset".to_owned());
                Ok((Outcome::Asked { reset }, more))
            }
            Step::TryReset(_) => done(mounts::try_reset().map(|()| None)?),
            Step::GrowPartition(disk) => done(data::grow_partition(disk)?),
            Step::MountData(disk) => {
                let reset = mounts::data(&disk.data)?;
                let more = reset.then(|| "a factory reset is asked for there".to_owned());
                Ok((Outcome::Asked { reset }, more))
            }
            Step::CheckData(disk) => match data::check(disk, &mut self.log, &mut self.feeder)? {
                data::Checked::Sound => done(None),
                data::Checked::Lost(why) => Ok((Outcome::Lost(why), None)),
            },
            Step::UnmountData => done(mounts::unmount(crate::place::DATA).map(|()| None)?),
            Step::RemakeData(disk) => done(data::remake(disk).map(|()| None)?),
            Step::ClearReset(_) => done(mounts::clear_reset().map(|()| None)?),
            Step::GrowData(disk) => done(data::grow(disk)?),
            Step::MemoryData => done(mounts::memory_as_data().map(|()| None)?),
            Step::Directories => done(data::directories().map(|()| None)?),
            Step::Seed => done(Some(match seed::use_saved()? {
                true => "with the saved one".to_owned(),
                false => "none was saved; one is now".to_owned(),
            })),
            Step::Clock => {
                let (floor, below) = clock::raise(self.release.built)?;
                (self.floor, self.floor_at) = (floor, Instant::now());
                done(below.then(|| format!("the clock was below it, and is {floor} now")))
            }
            Step::Pstore => {
                self.died = pstore::drain(clock::now())?;
                if let Some(panic) = &self.died.panic {
                    self.log.error(&format!("the last kernel died: {panic}"));
                }
                let records = self.died.records;
                done((records > 0).then(|| format!("{records} records, in /data/system/pstore")))
            }
            Step::Settings => {
                let chosen = settings::choose(&mut self.log, &mut self.feeder)?;
                for from in chosen.refused {
                    let refused = format!("the settings of {from} are not valid");
                    self.log.error(&refused);
                    self.reasons.push(refused);
                }
                done(Some(format!("from {}", chosen.from)))
            }
            Step::SealRoot => done(root::seal().map(|()| None)?),
            Step::Record => done(self.record(walk).map(|()| None)?),
            Step::StartNetwork => {
                self.children
                    .network
                    .start_or_retry(self.begun.elapsed(), &mut self.log)?;
                done(None)
            }
            Step::StartSupervisor => {
                self.children.listen()?;
                self.children
                    .supervisor
                    .start_or_retry(self.begun.elapsed(), &mut self.log)?;
                done(None)
            }
        }
    }

    fn read_command_line(&mut self) {
        KernelLog::unlock();
        self.command_line = text("/proc/cmdline", 4096).unwrap_or_default();
        self.release = text(RELEASE, 4096).map_or(Release::default(), |text| Release::read(&text));
        if self.release.board.is_empty() {
            let board = crate::facts::word(&self.command_line, "hearth.board");
            self.release.board = board.unwrap_or("unknown").to_owned();
        }
    }

    fn record(&mut self, walk: &Walk) -> Result<(), ActError> {
        self.data = walk.data;
        let disk = walk.disk.as_ref().filter(|_| walk.data != Data::Memory);
        self.partition = disk.map(|disk| disk.data.clone());
        let reasons: Vec<&String> = self.reasons.iter().chain(&walk.reasons).collect();
        let record = json!({
            "slot": self.slot,
            "trial": self.trial,
            "board": self.release.board,
            "version": self.release.version,
            "disk": walk.disk.as_ref().map(|disk| &disk.name),
            "data": walk.data.name(),
            "data_bytes": data::size(crate::place::DATA),
            "reasons": reasons,
            "panic": self.died.panic,
        });
        std::fs::write(BOOT_RECORD, format!("{record}\n")).map_err(file("write", BOOT_RECORD))
    }

    /// Says what has gone wrong since: in the log, on the console, and in the record, for others.
    pub fn add_reason(&mut self, reason: &str) {
        self.reasons.push(reason.to_owned());
        let text = text(BOOT_RECORD, 64 * 1024).unwrap_or_default();
        let mut record: Value = serde_json::from_str(&text).unwrap_or_default();
        record["reasons"] = json!(self.reasons);
        let beside = format!("{BOOT_RECORD}.new");
        let written = std::fs::write(&beside, format!("{record}\n"))
            .and_then(|()| std::fs::rename(&beside, BOOT_RECORD));
        if let Err(error) = written {
            self.log.error(&chain(&file("write", BOOT_RECORD)(error)));
        }
        self.log.error(reason);
    }
}

impl Default for Runner {
    fn default() -> Runner {
        Runner::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_has_set_is_not_saved_and_one_that_was_led_back_is() {
        let mut runner = Runner::new();
        runner.floor = 1000;
        runner.floor_at = Instant::now() - Duration::from_secs(60);
        assert_eq!(runner.known_time(), 1060);
        // A floor that was too high, by a server's wrong word, holds no longer.
        runner.floor = clock::now() + 1000;
        runner.raise_floor();
        assert!(runner.known_time() <= clock::now() + 1);
        assert!(runner.known_time() > 1_700_000_000);
    }
}
