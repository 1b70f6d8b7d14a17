//! PID 1 of the appliance: the boot as a plan in data, and the one runner that carries it out.
