//! Runs every target for a short time, with the seeds and with changed copies of them. The inputs are the same in every
//! run; `cargo xtask fuzz` tries further ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use hearth_fuzz::{TARGETS, Target};

/// Number of changed inputs for each target.
const RUNS: usize = 3_000;

/// A generator of pseudorandom numbers (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        number as usize % bound.max(1)
    }

    /// A copy of a seed with a few bytes changed, inserted or removed, or with its end cut off or taken from another
    /// seed.
    fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, self.below(256) as u8),
                3 => bytes.truncate(at),
                4 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    bytes.truncate(at);
                    bytes.extend(&other[from..]);
                }
            }
        }
        bytes
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn run(name: &str) {
    let (_, target): &(&str, Target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let seeds = seeds(name);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let changed = (0..RUNS).map(|_| numbers.change(&seeds));
    for bytes in seeds.iter().cloned().chain(changed) {
        let shown = bytes.escape_ascii().to_string();
        let broken = std::panic::catch_unwind(|| target(&bytes)).is_err();
        assert!(!broken, "{name}: {shown}");
    }
}

#[test]
fn answers() {
    run("answers");
}

#[test]
fn autoboot() {
    run("autoboot");
}

#[test]
fn disks() {
    run("disks");
}

#[test]
fn frames() {
    run("frames");
}

#[test]
fn heads() {
    run("heads");
}

#[test]
fn identity() {
    run("identity");
}

#[test]
fn journal() {
    run("journal");
}

#[test]
fn kits() {
    run("kits");
}

#[test]
fn manifest() {
    run("manifest");
}

#[test]
fn requests() {
    run("requests");
}

#[test]
fn sparse() {
    run("sparse");
}

#[test]
fn uki() {
    run("uki");
}
