//! The `cbs-backupd` command.
fn main() {}
