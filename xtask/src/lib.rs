//! What the project's chores share: programs that are run or installed, caches, keys and times.
//!
//! | module | owns |
//! |---|---|
//! | [`sh`] | running programs |
//! | [`install`], [`needs`] | Debian packages that chores need |
//! | [`debian`] | packages of other suites, unpacked below the cache |
//! | [`toolchain`], [`qemu`], [`kernel`] | what static programs and virtual machines are made of |
//! | [`tools`] | programs of other projects, installed below the cache |
//! | [`cache`] | slow and large products, kept between runs by their keys |
//! | [`shared_build`] | what Cargo has compiled, for all clones |
//! | [`tree`], [`key`] | the project's files, which of them a test can see, and the hash of all that a test can see |
//! | [`timings`] | how long virtual machines took, from the processes that start them |
//! | [`clock`] | times for people |

pub mod cache;
pub mod clock;
pub mod debian;
pub mod install;
pub mod kernel;
pub mod key;
pub mod needs;
pub mod qemu;
pub mod sh;
pub mod shared_build;
pub mod timings;
pub mod toolchain;
pub mod tools;
pub mod tree;
