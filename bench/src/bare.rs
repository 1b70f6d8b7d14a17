//! Workers without cells, to be compared with: what `hearth-cell` does for a supervisor, but for the cells.

use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use hearth_supervisor::cell::{self, Handed, Order, choice};
use hearth_sys::fork;
use nix::unistd::setsid;

use crate::out;

/// What a platform that is given this program in the place of `hearth-cell` calls it with.
pub(crate) fn serve(word: &str) -> anyhow::Result<()> {
    if word == choice::ASK {
        return out::data(choice::SOURCES);
    }
    let descriptor: RawFd = word.parse().context("which descriptor?")?;
    Ok(cell::serve(descriptor, false, |order, handed, _| {
        // Nobody is told: the platform sees its end.
        let _ = become_program(order, handed);
    })?)
}

fn become_program(order: &Order, handed: Handed) -> anyhow::Result<()> {
    setsid()?;
    if order.batch {
        fork::be_batch();
    }
    fork::place(handed.outputs, handed.descriptors)?;
    let mut program = Command::new(&order.plan.program);
    program.args(&order.plan.args).env_clear();
    program.envs(order.env.iter().map(|(name, value)| (name, value)));
    Err(program.exec().into())
}
