//! `hearth-net`: name, addresses, name servers and clock of the appliance. Decides in `lease` (DHCP) and `time`, where
//! time is passed in; acts in `run`.

mod cards;
mod confine;
mod kept;
mod lease;
mod names;
mod record;
mod routers;
mod run;
mod time;
mod wire;

pub use run::{check, run};
