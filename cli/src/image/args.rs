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
    /// Build an image from a board's kit and the functions of a manifest
    Build(Build),
    /// Run an image in QEMU, with its ports forwarded to this machine
    Run(Run),
    /// Write an image to a disk and verify it
    Flash(Flash),
}

fn board(text: &str) -> Result<Board, String> {
    Board::from_str(text).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Board to build the image for: qemu-x86_64, qemu-aarch64, nuc (any PC with UEFI), rpi4
    #[arg(long, value_name = "BOARD", value_parser = board)]
    pub(crate) board: Board,
    /// Kit of the board; without it, $HEARTH_KIT or the kit that `cargo xtask kit` has made
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "edge.yaml")]
    pub(crate) manifest: PathBuf,
    /// Settings of the device, such as its name and network
    #[arg(long, value_name = "FILE")]
    pub(crate) device: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that functions trust, instead of the kit's
    #[arg(long, value_name = "FILE")]
    pub(crate) authorities: Option<PathBuf>,
    /// Version that the device shows; without it, the kit's
    #[arg(long, value_name = "VERSION")]
    pub(crate) name_version: Option<String>,
    /// Use the functions' existing programs instead of building them
    #[arg(long)]
    pub(crate) no_build: bool,
    /// File to write the image to
    #[arg(short, long, value_name = "FILE", default_value = "edge.img")]
    pub(crate) output: PathBuf,
    /// Print the sizes of the image's parts as JSON
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
    /// Memory of the virtual machine
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = memory)]
    pub(crate) memory: u64,
    /// Port of this machine that is forwarded to port 80 of the image; without it, a free port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) http: Option<u16>,
    /// Port of this machine that is forwarded to port 443 of the image; without it, a free port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) https: Option<u16>,
    /// Write changes to the image; without it, they are discarded at the end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Flash {
    /// The image
    pub(crate) image: PathBuf,
    /// Disk to write to; everything on it is lost
    pub(crate) device: PathBuf,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write even to a disk that is mounted or built into this machine
    #[arg(long)]
    pub(crate) force: bool,
    /// Write to an existing file that is large enough, instead of a disk
    #[arg(long)]
    pub(crate) file: bool,
}
