//! Names of backups and runs: what is read is written back the same.

#![no_main]

use backup_core::{BackupId, BackupName, DiskId, JobName, Owner, RunId, TargetName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    macro_rules! read_and_write {
        ($($name:ty),*) => {$(
            if let Ok(read) = text.parse::<$name>() {
                assert_eq!(read.to_string(), text);
            }
        )*};
    }
    read_and_write!(BackupId, BackupName, DiskId, JobName, Owner, RunId, TargetName);
    if let Ok(name) = text.parse::<BackupName>() {
        let disk: DiskId = "disk-1".parse().expect("it is one");
        let run = name.run_on(disk);
        assert_eq!(BackupName::of(&name.owner, &run), name);
        assert_eq!(run.to_string().parse().as_ref(), Ok(&run));
        assert!(text.len() <= 60, "the name would not survive promotion");
    }
});
