//! Collects the contents of an image: kit, manifest, settings and the functions' programs, which are built if
//! necessary.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use hearth_image::Board;
use hearth_image::assemble::Contents;
use hearth_image::kit::{Kit, KitError};
use hearth_manifest::device;
use hearth_supervisor::load::{base, load};

use super::args::Build;
use super::factory::factory;
use crate::build::{Arch, Options, cache, found, functions};
use crate::out;

/// The kit of a board: the one that `--kit` names, that of $HEARTH_KIT, or the one that `cargo xtask kit` has made.
fn kit(args: &Build) -> anyhow::Result<Kit> {
    let board = args.board;
    let named = args.kit.clone();
    let named = named.or_else(|| std::env::var_os("HEARTH_KIT").map(PathBuf::from));
    let own = || Some(cache()?.join(format!("hearth/kits/hearth-{board}.kit")));
    let path = named
        .or_else(own)
        .context("no home directory; --kit names the kit")?;
    let kit = match Kit::open(&path) {
        Err(KitError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            // The kit that `cargo xtask kit` makes for the Raspberry Pi is for QEMU only.
            let maker = match board {
                Board::Rpi4 => "Buildroot makes it (buildroot/README.md)".to_owned(),
                _ => format!(
                    "`cargo xtask kit {board}` in Hearth's repository makes it, or Buildroot does \
                     (buildroot/README.md)"
                ),
            };
            bail!(
                "no kit for {board}: {} is not there. A kit is the kernel and all else that is the same for \
             everyone's functions. {maker}; --kit or $HEARTH_KIT names one that lies elsewhere",
                path.display()
            )
        }
        other => other?,
    };
    ensure!(
        kit.board == board,
        "{} is the kit of {}, and not of {board}",
        path.display(),
        kit.board
    );
    Ok(kit)
}

/// The time of the build in seconds of Unix time: SOURCE_DATE_EPOCH (reproducible-builds.org), or that of the kit.
fn built(kit: &Kit) -> anyhow::Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => u64::from_str(&text).context("SOURCE_DATE_EPOCH is no number of seconds"),
        Err(_) => Ok(kit.about.built),
    }
}

fn arch_of(board: Board) -> Arch {
    match board.arch() {
        hearth_image::Arch::X86_64 => Arch::X86_64,
        hearth_image::Arch::Aarch64 => Arch::Aarch64,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Collects the contents and builds the functions. Returns `None` if the manifest or the settings are invalid; the
/// errors are then printed.
pub(crate) fn contents(args: &Build) -> anyhow::Result<Option<Contents>> {
    let parsed = match load(&args.manifest) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            out::talk(format_args!("hearth: {:#}", anyhow::Error::from(error)));
            None
        }
    };
    let settings = match &args.device {
        None => Some(None),
        Some(path) => {
            let text = read(path)?;
            match device::parse(&path.display().to_string(), &text) {
                Ok(_) => Some(Some(text)),
                Err(faults) => {
                    out::talk(format_args!("hearth: {faults}"));
                    None
                }
            }
        }
    };
    let (Some(parsed), Some(device)) = (parsed, settings) else {
        return Ok(None);
    };
    for note in &parsed.notes {
        out::talk(note);
    }
    let kit = kit(args)?;
    let authorities = args.authorities.as_deref().map(read).transpose()?;
    if let (Some(path), Some(text)) = (&args.authorities, &authorities) {
        ensure!(
            String::from_utf8_lossy(text).contains("-----BEGIN CERTIFICATE-----"),
            "{} has no certificate in PEM",
            path.display()
        );
    }
    if parsed.manifest.gateway.listen.https.is_none() {
        out::talk(
            "no HTTPS: the manifest's `gateway.listen.https` is absent or off (`127.0.0.1:8443` becomes port 443 there)",
        );
    }
    let text = read(&args.manifest)?;
    let (manifest, base) = (&parsed.manifest, base(&args.manifest));
    let arch = arch_of(args.board);
    let programs = match args.no_build {
        true => found(manifest, &base, arch)?,
        false => functions(manifest, &base, arch, Options::default())?,
    };
    let factory = factory(manifest, text, &base, &programs)?;
    for note in &factory.notes {
        out::talk(note);
    }
    Ok(Some(Contents {
        version: args
            .name_version
            .clone()
            .unwrap_or_else(|| kit.about.version.clone()),
        built: built(&kit)?,
        kit,
        factory: factory.files,
        device,
        authorities,
    }))
}
