//! `hearth image build`: writes one file that contains the whole appliance and can be written to a disk.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hearth_image::Firmware;
use hearth_image::assemble::{BuildError, Image, assemble};
use hearth_image::space::Space;
use serde_json::json;

use super::args::Build;
use super::contents::contents;
use crate::out::{self, Outcome};
use crate::progress::Progress;
use crate::table::{Side, bytes, lay_out};

pub(crate) fn build(args: &Build) -> anyhow::Result<Outcome> {
    let output = &args.output;
    // Checked first, because the build takes minutes.
    ensure!(
        !output.exists() || output.is_file(),
        "{} is no file; `hearth image flash` writes an image to a disk",
        output.display()
    );
    let place = output
        .parent()
        .filter(|place| !place.as_os_str().is_empty());
    let place = place.unwrap_or(Path::new("."));
    ensure!(
        place.is_dir(),
        "there is no directory {}, for {}",
        place.display(),
        output.display()
    );
    let Some(contents) = contents(args)? else {
        return Ok(Outcome::BadManifest);
    };
    let mut progress = Progress::new();
    let image = match assemble(&contents, &mut |step| progress.step(step)) {
        Ok(image) => image,
        Err(error) => {
            progress.end();
            if let BuildError::Full { space, .. } = &error {
                out::talk(table(space).join("\n"));
            }
            return Err(error.into());
        }
    };
    write(&image, output, &mut progress)?;
    progress.end();
    if args.json {
        let mut space = serde_json::to_value(&image.space)?;
        space["file"] = json!(output);
        out::data(space)?;
        return Ok(Outcome::Done);
    }
    for line in table(&image.space) {
        out::data(line)?;
    }
    let output = output.display();
    let tried = match contents.kit.board.firmware() {
        Firmware::Uefi => format!("`hearth image run {output}` tries it in a virtual machine, "),
        Firmware::Pi => String::new(),
    };
    out::talk(format_args!(
        "{output} is ready: {tried}`hearth image flash {output} DISK` writes it to a disk"
    ));
    Ok(Outcome::Done)
}

/// Writes the image to a new file beside `output`, and renames that when it is complete.
fn write(image: &Image, output: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let mut name = output.as_os_str().to_owned();
    // The name contains the process id, so that two builds at once do not use the same file.
    name.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(name);
    let shown = output.display();
    progress.step(format_args!("writing {shown}"));
    let what = format!("writing {shown}");
    let done = write_whole(image, &fresh, &mut |written| {
        progress.part(&what, written, image.space.image);
    })
    .and_then(|()| fs::rename(&fresh, output).map_err(anyhow::Error::from));
    if done.is_err() {
        // The file may not exist; then there is nothing to remove.
        let _ = fs::remove_file(&fresh);
    }
    done.with_context(|| format!("cannot write {shown}"))
}

fn write_whole(image: &Image, fresh: &Path, done: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(fresh)?;
    file.set_len(image.space.image)?;
    image.write(&mut file, done)?;
    file.sync_all()?;
    Ok(())
}

/// The table of the image's parts and their sizes.
fn table(space: &Space) -> Vec<String> {
    let mut rows = vec![["PART", "SIZE"].map(str::to_owned).to_vec()];
    let mut row = |what: &str, size: u64| rows.push(vec![what.to_owned(), bytes(size)]);
    let (files, others): (Vec<_>, Vec<_>) = space
        .parts
        .iter()
        .partition(|part| part.name.starts_with('/'));
    for part in others {
        row(&part.name, part.bytes);
    }
    row("root file system, unpacked", space.initramfs());
    let (large, small): (Vec<_>, Vec<_>) = files.into_iter().partition(|part| part.bytes >= SHOWN);
    for part in large {
        row(&format!("  {}", part.name), part.bytes);
    }
    let rest: u64 = small.iter().map(|part| part.bytes).sum();
    if !small.is_empty() {
        row(&format!("  {} small files", small.len()), rest);
    }
    if space.initramfs_compressed > 0 {
        row("root file system, compressed", space.initramfs_compressed);
    }
    if space.slot_used > 0 {
        let share = space.slot_used * 100 / space.slot_size.max(1);
        let used = format!("slot, {share} % of {}", bytes(space.slot_size));
        row(&used, space.slot_used);
        row("data, before its first boot", space.data);
        row("image", space.image);
    }
    lay_out(&[Side::Left, Side::Right], &rows)
}

/// Files of at least this many bytes have a line of their own in the table.
const SHOWN: u64 = 16 * 1024;
