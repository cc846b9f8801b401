//! The daemon: acts on what `backup-core` decides. Not a public API; see `docs/stability.md`.

pub mod app;
pub mod bell;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod daemon;
pub mod fleet;
pub mod forecast;
pub mod heartbeat;
pub mod journal;
pub mod metrics;
pub mod notify;
pub mod random;
pub mod report;
pub mod simulate;
pub mod standings;
pub mod tasks;
pub mod zones;

/// For Rust and for SQLite alike. Settled in `.cargo/config.toml`, and why in docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
