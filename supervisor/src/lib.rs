//! The supervisor: owns listeners, workers, the gateway's process, the log and the control API.
//!
//! Events come from processes, sockets, signals and clocks; [`plan`] decides, purely; [`run`] does it.

pub mod accept;
pub mod action;
pub mod api;
pub mod authorities;
pub mod backoff;
pub mod certificate;
pub mod control;
pub mod event;
pub mod gateway;
pub mod journal;
pub mod listen;
pub mod load;
pub mod names;
pub mod plan;
pub mod process;
pub mod programs;
pub mod run;
pub mod secret;
pub mod state;
pub mod status;
pub mod versions;
pub mod watch;
pub mod wire;
pub mod worker;

pub use accept::{Options, Overrides, RunError};
pub use run::run;
