//! The machine's name on the local network: `NAME.local`, and that it serves HTTPS (mDNS and DNS-SD). Another
//! machine with the same name makes it `NAME-2.local`.

use mdns_sd::{DaemonEvent, Receiver, ServiceDaemon, ServiceInfo};

/// What it serves.
const SERVICE: &str = "_https._tcp.local.";
const PORT: u16 = 443;

/// Says the name for as long as it lives.
pub(super) struct Names {
    daemon: ServiceDaemon,
    events: Receiver<DaemonEvent>,
    name: String,
}

impl Names {
    /// Begins to say it, on this interface alone.
    pub(super) fn say(hostname: &str, interface: &str) -> Result<Names, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        daemon.disable_interface(mdns_sd::IfKind::All)?;
        daemon.enable_interface(interface)?;
        let events = daemon.monitor()?;
        let host = format!("{hostname}.local.");
        let service = ServiceInfo::new(SERVICE, hostname, &host, "", PORT, None)?;
        daemon.register(service.enable_addr_auto())?;
        Ok(Names {
            daemon,
            events,
            name: host,
        })
    }

    /// The name as it is now, without the last dot.
    pub(super) fn name(&mut self) -> &str {
        while let Ok(event) = self.events.try_recv() {
            if let DaemonEvent::NameChange(change) = event
                && change.original == self.name
            {
                self.name = change.new_name;
            }
        }
        self.name.trim_end_matches('.')
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // It says goodbye, or the process ends anyway.
        let _ = self.daemon.shutdown();
    }
}
