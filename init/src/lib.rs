//! PID 1 of the appliance: the boot as a plan in data, and the one runner that carries it out; and the
//! process that sees to the network.
//!
//! What decides is pure and tested with time passed in: [`plan`] (a boot), [`facts`] (what it is planned from),
//! [`health`] (the watchdog), [`restarts`] (children). What acts is in `act`, `run` and `serve`.

pub mod act;
pub mod dry;
pub mod facts;
pub mod health;
pub mod kernel_log;
pub mod netlink;
pub mod network;
pub mod place;
pub mod plan;
pub mod restarts;
pub mod run;
pub mod serve;
pub mod stop;
pub mod summary;
