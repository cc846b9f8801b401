//! The daemon: acts on what `backup-core` decides. Not a public API; see `docs/stability.md`.

pub mod journal;
