//! The command line of `hearth image`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Subcommand;
use hearth_image::Board;

#[derive(Debug, clap::Args)]
pub(crate) struct Image {
    #[command(subcommand)]
    pub(crate) what: ImageVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Make an image: a board's kit, and the functions of a manifest
    Build(Build),
    /// Start an image in QEMU, with its ports reachable from here
    Run(Run),
    /// Write an image to a disk, and read it back
    Flash(Flash),
}

fn board(text: &str) -> Result<Board, String> {
    Board::from_str(text).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// The machine it is for: qemu-x86_64, qemu-aarch64, nuc (any PC with UEFI), rpi4
    #[arg(long, value_name = "BOARD", value_parser = board)]
    pub(crate) board: Board,
    /// The board's kit; without it $HEARTH_KIT, or else where `cargo xtask kit` puts it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    /// Settings of the device: its name, its network
    #[arg(long, value_name = "FILE")]
    pub(crate) device: Option<PathBuf>,
    /// Certificates of authorities that functions trust (PEM), instead of the kit's
    #[arg(long, value_name = "FILE")]
    pub(crate) authorities: Option<PathBuf>,
    /// What the device shows as its version; without it, the kit's
    #[arg(long, value_name = "VERSION")]
    pub(crate) name_version: Option<String>,
    /// Take the functions' programs that lie there, and build none
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Where the image is written
    #[arg(short, long, value_name = "FILE", default_value = "edge.img")]
    pub(crate) output: PathBuf,
    /// Print what takes which space as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn memory(text: &str) -> Result<u64, String> {
    match hearth_manifest::read_size(text) {
        Some(bytes) if (64 << 20..=64 << 30).contains(&bytes) => Ok(bytes),
        Some(_) => Err("it is from 64MiB to 64GiB".to_owned()),
        None => Err("expected a size as 512MiB".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The image
    #[arg(default_value = "edge.img")]
    pub(crate) image: PathBuf,
    /// The machine's memory
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = memory)]
    pub(crate) memory: u64,
    /// The port here that leads to its port 80; without it, one that is free
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) http: Option<u16>,
    /// The port here that leads to its port 443; without it, one that is free
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) https: Option<u16>,
    /// Let it write to the image itself; without it, everything is forgotten at its end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Flash {
    /// The image
    pub(crate) image: PathBuf,
    /// The disk: all of it, and all that is on it is lost
    pub(crate) device: PathBuf,
    /// Ask nothing
    #[arg(long)]
    pub(crate) yes: bool,
    /// Also a disk that is mounted, or that cannot be taken out of this machine
    #[arg(long)]
    pub(crate) force: bool,
    /// Write to a file, as if it were a disk; it must be there, and large enough
    #[arg(long)]
    pub(crate) file: bool,
}
