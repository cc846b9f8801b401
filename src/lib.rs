//! The daemon: acts on what `backup-core` decides. Not a public API; see `docs/stability.md`.

pub mod clock;
pub mod config;
pub mod journal;
pub mod random;
pub mod report;
