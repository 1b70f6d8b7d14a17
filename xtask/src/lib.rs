//! Shared by the project's tasks: running and installing programs, caches, keys and times.
//!
//! | module | contents |
//! |---|---|
//! | [`sh`] | running programs |
//! | [`install`], [`needs`] | Debian packages that tasks need |
//! | [`debian`] | packages of other suites, unpacked below the cache |
//! | [`toolchain`], [`qemu`], [`kernel`] | what static programs and virtual machines are made of |
//! | [`tools`] | programs of other projects, installed below the cache |
//! | [`cache`] | large products that are slow to make, kept between runs by their keys |
//! | [`shared_build`] | compiled code that all clones share |
//! | [`tree`], [`key`] | the project's files, and the hash of everything that a test can see |
//! | [`timings`] | how long builds and virtual machines took, from the processes that run them |
//! | [`clock`] | times in readable form |

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
