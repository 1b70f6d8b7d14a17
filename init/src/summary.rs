//! What the console says once the platform is ready, and again when the address changes: who this is, where it
//! is reached, and what is wrong, in ten lines at most.

use serde_json::Value;

use crate::act::data;
use crate::place::DATA;
use crate::plan::Data;
use crate::run::Runner;

/// The most lines.
const LINES: usize = 10;

/// What hearth-net tells (`net.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The machine's name.
    pub hostname: String,
    /// Its name on the local network, if it is told there.
    pub mdns: String,
    /// Its addresses, as they stand in a URL.
    pub addresses: Vec<String>,
    /// The clock was set by a server.
    pub synchronised: bool,
}

impl Network {
    /// Reads it; what is missing is empty.
    pub fn read(text: &str) -> Network {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let addresses = json["addresses"].as_array().into_iter().flatten();
        let addresses = addresses.filter_map(Value::as_str).map(|address| {
            // Without the prefix, if there is one.
            let bare = address.split('/').next().unwrap_or(address);
            match bare.contains(':') {
                true => format!("[{bare}]"),
                false => bare.to_owned(),
            }
        });
        Network {
            hostname: text("hostname"),
            mdns: text("mdns"),
            addresses: addresses.collect(),
            synchronised: text("clock") == "synchronised",
        }
    }
}

/// The lines for the machine as it is.
pub fn lines(runner: &Runner, network: Option<&Network>, status: &str) -> Vec<String> {
    let about = About {
        version: &runner.release.version,
        board: &runner.release.board,
        slot: runner.slot,
        trial: runner.trial,
        data: runner.data,
        data_mib: data::size(DATA) >> 20,
        reasons: &runner.reasons,
        panic: runner.died.panic.as_deref(),
    };
    about.lines(network, status)
}

/// What of a boot is shown.
#[derive(Clone, Debug)]
pub struct About<'a> {
    version: &'a str,
    board: &'a str,
    slot: &'a str,
    trial: bool,
    data: Data,
    data_mib: u64,
    reasons: &'a [String],
    panic: Option<&'a str>,
}

impl About<'_> {
    fn lines(&self, network: Option<&Network>, status: &str) -> Vec<String> {
        let none = Network::default();
        let network = network.unwrap_or(&none);
        let mut lines = Vec::new();
        let name = [&network.hostname, &network.mdns];
        let name: Vec<&str> = name
            .into_iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        lines.push(match name.is_empty() {
            true => "== hearth".to_owned(),
            false => format!("== {}", name.join(", ")),
        });
        lines.push(match network.addresses.as_slice() {
            [] => "== NO NETWORK ADDRESS: is there a cable, and a DHCP server?".to_owned(),
            addresses => {
                let urls = addresses
                    .iter()
                    .take(3)
                    .map(|one| format!("https://{one}/"));
                format!("== {}", urls.collect::<Vec<_>>().join("  "))
            }
        });
        let trial = if self.trial { " ON TRIAL" } else { "" };
        lines.push(format!(
            "== slot {}{trial}, version {}, board {}, data {} MiB ({})",
            self.slot,
            self.version,
            self.board,
            self.data_mib,
            self.data.name()
        ));
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend((!status.is_empty()).then(|| status.to_owned()));
        if !network.synchronised {
            wrong.push("the clock was not set by a server yet".to_owned());
        }
        wrong.extend(
            self.panic
                .map(|panic| format!("the last kernel died: {panic}")),
        );
        wrong.extend(self.reasons.iter().cloned());
        let room = LINES - lines.len();
        let more = wrong.len().saturating_sub(room);
        if more > 0 {
            wrong.truncate(room - 1);
            wrong.push(format!("and {} more, in /run/hearth/boot.json", more + 1));
        }
        lines.extend(wrong.into_iter().map(|line| format!("== {line}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About<'static> = About {
        version: "0.1.0",
        board: "nuc",
        slot: "a",
        trial: false,
        data: Data::Mounted,
        data_mib: 900,
        reasons: &[],
        panic: None,
    };

    #[test]
    fn a_well_machine_says_who_it_is() {
        let record = r#"{"hostname":"kitchen","mdns":"kitchen.local","clock":"synchronised",
            "addresses":["10.0.2.15/24","fd00::5/64"]}"#;
        let network = Network::read(record);
        assert_eq!(
            ABOUT.lines(Some(&network), "2 functions").join("\n"),
            "== kitchen, kitchen.local\n\
             == https://10.0.2.15/  https://[fd00::5]/\n\
             == slot a, version 0.1.0, board nuc, data 900 MiB (mounted)\n\
             == 2 functions"
        );
        assert_eq!(Network::read("no json"), Network::default());
    }

    #[test]
    fn what_is_wrong_takes_no_more_than_ten_lines() {
        let reasons: Vec<String> = (1..20).map(|number| format!("reason {number}")).collect();
        let about = About {
            reasons: &reasons,
            panic: Some("Kernel panic - why"),
            trial: true,
            ..ABOUT
        };
        let lines = about.lines(None, "");
        assert_eq!(lines.len(), LINES);
        assert!(lines[1].contains("NO NETWORK ADDRESS"), "{lines:?}");
        assert!(lines[2].contains("slot a ON TRIAL"), "{lines:?}");
        assert!(lines[4].contains("Kernel panic"), "{lines:?}");
        assert_eq!(lines[9], "== and 15 more, in /run/hearth/boot.json");
    }
}
