//! `hearth-init --dry-run`: a boot that is only told. The same [`Walk`] as a real one, with a world made of
//! words: what disk there is, what it asks for, which steps fail.

use std::fmt::Write;

use crate::facts::{Disk, Slot, Table};
use crate::plan::{Outcome, Step, Walk};

/// What a boot finds, in words.
#[derive(Clone, Debug, Default)]
pub struct World {
    disk: Option<Disk>,
    trial: bool,
    reset_on_esp: bool,
    reset_on_data: bool,
    lost: bool,
    fails: Vec<(String, bool)>,
}

/// A word that says nothing about a boot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no fact: disk=NAME, disk=NAME:mbr, trial, reset=esp, reset=data, lost, fails=STEP, fails-once=STEP, \
     where STEP is how the step's line begins"
)]
pub struct UnknownFact(String);

impl World {
    /// From words: `disk=vda trial reset=esp "fails=mount vda5"`.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn of(words: &[String]) -> Result<World, UnknownFact> {
        let mut world = World::default();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("disk", name) if !name.is_empty() => world.disk = Some(disk(name)),
                ("trial", "") => world.trial = true,
                ("reset", "esp") => world.reset_on_esp = true,
                ("reset", "data") => world.reset_on_data = true,
                ("lost", "") => world.lost = true,
                ("fails", step) if !step.is_empty() => world.fails.push((step.to_owned(), false)),
                ("fails-once", step) if !step.is_empty() => {
                    world.fails.push((step.to_owned(), true));
                }
                _ => return Err(UnknownFact(word.clone())),
            }
        }
        if let (Some(disk), true) = (&mut world.disk, world.trial) {
            disk.slot = Slot::B;
        }
        Ok(world)
    }

    fn outcome(&mut self, step: &Step) -> Outcome {
        let line = step.to_string();
        if let Some(at) = self
            .fails
            .iter()
            .position(|(fails, _)| line.starts_with(fails.as_str()))
        {
            if self.fails[at].1 {
                self.fails.remove(at);
            }
            return Outcome::Failed("it is so in this dry run".to_owned());
        }
        match step {
            Step::FindDisk => match &self.disk {
                Some(disk) => Outcome::Found(disk.clone()),
                None => Outcome::Failed("the firmware names no partition".to_owned()),
            },
            Step::MountEsp(_) => Outcome::Asked {
                reset: self.reset_on_esp,
            },
            Step::MountData(_) => Outcome::Asked {
                reset: self.reset_on_data,
            },
            Step::CheckData(_) if self.lost => {
                Outcome::Lost("there is no file system any more".to_owned())
            }
            _ => Outcome::Done,
        }
    }
}

fn disk(name: &str) -> Disk {
    let (name, table) = match name.split_once(':') {
        Some((name, "mbr")) => (name, Table::Mbr),
        _ => (name, Table::Gpt),
    };
    let data_number = match table {
        Table::Gpt => 5,
        Table::Mbr => 6,
    };
    // As the kernel names partitions of disks whose name ends with a digit.
    let between = match name.ends_with(|last: char| last.is_ascii_digit()) {
        true => "p",
        false => "",
    };
    Disk {
        name: name.to_owned(),
        table,
        slot: Slot::A,
        esp: format!("{name}{between}1"),
        data: format!("{name}{between}{data_number}"),
        data_number,
    }
}

/// The boot that `world` makes: a line a step, and what would be said of it.
pub fn tell(mut world: World) -> String {
    let mut told = String::new();
    for mut walk in [Walk::before_the_move(), Walk::after_the_move()] {
        while let Some(step) = walk.step() {
            let outcome = world.outcome(&step);
            let failed = match &outcome {
                Outcome::Failed(reason) => format!(" -- FAILS: {reason}"),
                Outcome::Lost(reason) => format!(" -- LOST: {reason}"),
                Outcome::Done | Outcome::Found(_) | Outcome::Asked { .. } => String::new(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(told, "{step}{failed}");
            if let Err(fatal) = walk.ended(&step, outcome) {
                let _ = writeln!(told, "THE END: {}; restart in 10 seconds", fatal.0);
                return told;
            }
        }
        if walk.disk.is_some() || !walk.reasons.is_empty() {
            let slot = walk.disk.as_ref().map_or("none", |disk| disk.slot.name());
            let trial = if world.trial { ", on trial" } else { "" };
            let _ = writeln!(told, "slot {slot}{trial}, data {}", walk.data.name());
            for reason in &walk.reasons {
                let _ = writeln!(told, "  {reason}");
            }
        }
    }
    told
}
