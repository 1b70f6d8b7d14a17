//! `hearth dev`: runs the platform as `hearth up` does, and builds and serves every change of the sources.
//!
//! A thread polls the sources, builds the functions after a change, and requests a reload from the platform. If a
//! build fails or a new worker does not start, the platform continues to serve the last good version.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hearth_supervisor::api::{AskError, Client, Reloaded};
use hearth_supervisor::load::{base, load};
use hearth_supervisor::state::StateDir;

use crate::args::Up;
use crate::build::{Builder, Profile};
use crate::out::{self, Outcome};
use crate::up;

/// Interval between two scans of the sources. A change has settled when two successive scans find the same.
const LOOK: Duration = Duration::from_millis(100);

/// Directories that contain no sources. Hidden files and directories are skipped, too.
const NO_SOURCES: [&str; 2] = ["target", "node_modules"];

pub(crate) fn dev(args: &Up) -> anyhow::Result<Outcome> {
    let mut sources = Sources::of(&args.manifest);
    while let Err(error) = build(&args.manifest) {
        out::talk(format_args!("hearth: {error:#}"));
        out::talk("waiting for a change");
        sources = sources.changed(&args.manifest);
    }
    let manifest = args.manifest.clone();
    // The thread ends with this process.
    std::thread::spawn(move || {
        loop {
            sources = sources.changed(&manifest);
            renew(&manifest);
        }
    });
    up::serve(args)
}

fn build(manifest: &Path) -> anyhow::Result<()> {
    let parsed = load(manifest)?;
    let builder = Builder {
        profile: Profile::Dev,
        tied: true,
    };
    builder.build(&parsed.manifest, &base(manifest))
}

fn renew(manifest: &Path) {
    let begun = Instant::now();
    if let Err(error) = build(manifest) {
        out::talk(format_args!("hearth: {error:#}"));
        return out::talk("what was served before is served on");
    }
    let built = begun.elapsed();
    match Client::of(manifest, StateDir::of(manifest)).post::<Reloaded>("/v1/reload") {
        Ok(_) => out::talk(format_args!(
            "built in {:.1} s, served {:.1} s later",
            built.as_secs_f32(),
            (begun.elapsed() - built).as_secs_f32()
        )),
        Err(AskError::Refused(why)) => out::talk(format_args!(
            "not served: {why}; what was served before is served on"
        )),
        Err(error) => out::talk(format_args!("hearth: {error}")),
    }
}

/// Length and modification time of every source file at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sources(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

impl Sources {
    /// Scans the manifest's directory and the paths that the functions' builds watch (`build.watch`). The binaries
    /// that the builds produce are not sources.
    fn of(manifest: &Path) -> Sources {
        let base = base(manifest);
        let mut sources = Sources::default();
        let mut made = Vec::new();
        let mut watched = vec![base.clone()];
        if let Ok(parsed) = load(manifest) {
            for function in parsed.manifest.functions.values() {
                made.push(base.join(&function.binary));
                let watch = function.build.iter().flat_map(|build| &build.watch);
                watched.extend(watch.map(|path| base.join(path)));
            }
        }
        while let Some(path) = watched.pop() {
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            if meta.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                watched.extend(
                    entries
                        .map(|entry| entry.path())
                        .filter(|path| is_source(path)),
                );
            } else if meta.is_file() && !made.contains(&path) {
                let stamp = (meta.len(), meta.modified().ok());
                sources.0.insert(path, stamp);
            }
        }
        sources
    }

    /// Waits until the sources differ from `self` and have settled.
    fn changed(&self, manifest: &Path) -> Sources {
        let mut last = self.clone();
        loop {
            std::thread::sleep(LOOK);
            let now = Sources::of(manifest);
            if now != *self && now == last {
                return now;
            }
            last = now;
        }
    }
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    // Symbolic links are skipped: a link may lead anywhere, even to a parent directory.
    name.is_some_and(|name| !name.starts_with('.') && !NO_SOURCES.contains(&name))
        && !path.is_symlink()
}
