//! The `cbs-backupd` command.

fn main() -> std::process::ExitCode {
    cbs_backupd::cli::main()
}
