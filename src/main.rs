//! The `cbs-backupd` command.

/// Settled in `.cargo/config.toml`, and why in docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cbs_backupd::cli::main()
}
