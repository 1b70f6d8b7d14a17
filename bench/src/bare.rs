//! A replacement for `hearth-cell` that starts workers without cells, for comparison.

use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use hearth_supervisor::cell::{self, Handed, Order, choice};
use hearth_sys::fork;
use nix::unistd::setsid;

use crate::out;

/// Handles the argument with which a platform calls `hearth-cell`.
pub(crate) fn serve(word: &str) -> anyhow::Result<()> {
    if word == choice::ASK {
        return out::data(choice::SOURCES);
    }
    let descriptor: RawFd = word.parse().context("which descriptor?")?;
    Ok(cell::serve(descriptor, false, |order, handed, _| {
        // The error is not reported: the platform notices that the process ends.
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
