//! The supervisor. It owns the listeners, the keys, the workers, the gateway's process, the log and the control API.
//!
//! Processes, sockets, signals and timers cause events. [`plan`] decides what to do about an event, without any I/O;
//! [`run`](mod@run) carries out the decisions.

pub mod accept;
pub mod action;
pub mod api;
pub mod authorities;
pub mod backoff;
pub mod causes;
pub mod cell;
pub mod certificate;
pub mod cgroup;
pub mod confine;
pub mod control;
mod descriptors;
pub mod device;
mod endpoint;
pub mod event;
pub mod exposition;
pub mod figures;
pub mod filter;
pub mod gateway;
pub mod histogram;
pub mod host;
pub mod journal;
pub mod journald;
pub mod listen;
pub mod load;
pub mod machine;
pub mod measure;
pub mod metrics;
pub mod names;
pub mod native;
mod notify;
pub mod plan;
pub mod process;
pub mod programs;
pub mod queue;
pub mod receiver;
pub mod run;
pub mod secret;
pub mod state;
pub mod status;
pub mod store;
pub mod versions;
pub mod watch;
pub mod wire;
pub mod worker;
pub mod zygote;

pub use accept::{Options, Overrides, RunError};
pub use run::run;
