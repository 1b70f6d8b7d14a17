//! `hearth device`: shows and controls the appliance that the platform runs on.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::ensure;
use hearth_supervisor::api::AskError;
use hearth_supervisor::device::{Ask, Asked, DeviceStatus};

use crate::args::{Device, DeviceVerb};
use crate::out::{self, Outcome};

pub(crate) fn device(args: &Device) -> anyhow::Result<Outcome> {
    let what = match args.what {
        None => return show(args),
        Some(DeviceVerb::Reboot) => Ask::Reboot,
        Some(DeviceVerb::PowerOff) => Ask::PowerOff,
        Some(DeviceVerb::FactoryReset { yes }) => {
            ensure!(
                yes || agreed()?,
                "nothing was done; `--yes` says that you mean it"
            );
            Ask::FactoryReset
        }
    };
    let target = format!("/v1/device/{}", what.name());
    match args.client().post::<Asked>(&target) {
        Ok(asked) => {
            out::talk(format_args!("{} has begun", asked.begun));
            Ok(Outcome::Done)
        }
        Err(error) => refused(error),
    }
}

fn show(args: &Device) -> anyhow::Result<Outcome> {
    let status: DeviceStatus = match args.client().get("/v1/device") {
        Ok(status) => status,
        Err(error) => return refused(error),
    };
    if args.json {
        out::data(serde_json::to_string_pretty(&status)?)?;
        return Ok(Outcome::Done);
    }
    for line in lines(&status) {
        out::data(line)?;
    }
    Ok(Outcome::Done)
}

/// The device's status, one line for each property and each fault.
fn lines(status: &DeviceStatus) -> Vec<String> {
    let boot = &status.boot;
    let trial = if boot.trial { ", on trial" } else { "" };
    let mut lines = Vec::new();
    if let Some(network) = &status.network {
        let unknown = || "not known yet".to_owned();
        lines.push(format!("name     {}", network.hostname));
        lines.push(format!(
            "found by {}",
            network.mdns.clone().unwrap_or_else(unknown)
        ));
        lines.push(format!(
            "address  {}",
            match network.addresses.is_empty() {
                true => "none".to_owned(),
                false => network.addresses.join(", "),
            }
        ));
        lines.push(format!("clock    {}", network.clock));
    }
    lines.push(format!("version  {} for {}", boot.version, boot.board));
    lines.push(format!("slot     {}{trial}", boot.slot));
    let size = hearth_manifest::print_size(boot.data_bytes);
    lines.push(format!("data     {}, {size}", boot.data));
    let panic = boot.panic.iter();
    lines.extend(panic.map(|why| format!("wrong    the last kernel died: {why}")));
    lines.extend(boot.reasons.iter().map(|why| format!("wrong    {why}")));
    lines
}

fn refused(error: AskError) -> anyhow::Result<Outcome> {
    match error {
        AskError::Refused(why) => {
            out::talk(format_args!("hearth: {why}"));
            Ok(Outcome::Failed)
        }
        error => Err(error.into()),
    }
}

/// Asks the user at the terminal for confirmation. Without a terminal, the answer is no.
fn agreed() -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Ok(false);
    }
    write!(
        stderr(),
        "log, secrets, versions and certificates of the device will be gone; write `yes` to go on: "
    )?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use hearth_supervisor::device::{Boot, Network};

    use super::*;

    #[test]
    fn a_box_is_told_in_lines_with_what_is_wrong_last() {
        let mut status = DeviceStatus {
            boot: Boot {
                slot: "b".to_owned(),
                trial: true,
                board: "nuc".to_owned(),
                version: "0.1.0".to_owned(),
                data: "remade".to_owned(),
                data_bytes: 8 << 30,
                reasons: vec!["the data partition was damaged".to_owned()],
                panic: Some("Kernel panic - why".to_owned()),
            },
            network: None,
        };
        let expect = [
            "version  0.1.0 for nuc",
            "slot     b, on trial",
            "data     remade, 8GiB",
            "wrong    the last kernel died: Kernel panic - why",
            "wrong    the data partition was damaged",
        ];
        assert_eq!(lines(&status), expect);
        status.network = Some(Network {
            interface: None,
            mac: None,
            hostname: "kitchen".to_owned(),
            mdns: None,
            addresses: vec![],
            gateway: None,
            dns: vec![],
            clock: "unset".to_owned(),
        });
        let expect = [
            "name     kitchen",
            "found by not known yet",
            "address  none",
            "clock    unset",
        ];
        assert_eq!(lines(&status)[..4], expect);
    }
}
