//! The actions of the API that the client calls.
//!
//! Responsible for what is fixed for each: its name, what repeating it means, the cloud's limit. It refuses to
//! know parameters and replies.

use std::fmt;

/// An action of CBS, version [`Action::VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Makes a backup.
    CreateDiskBackup,
    /// Lists backups.
    DescribeDiskBackups,
    /// Deletes backups.
    DeleteDiskBackups,
    /// Lists disks.
    DescribeDisks,
    /// Puts a disk back to what it was at a backup.
    ApplyDiskBackup,
    /// Makes a snapshot, of a backup.
    CreateSnapshot,
    /// Lists snapshots.
    DescribeSnapshots,
    /// Deletes snapshots.
    DeleteSnapshots,
}

/// What sending an action twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It makes two: an outcome that is not known matters.
    Create,
    /// Nothing.
    Read,
    /// The second time there is nothing left to delete.
    Delete,
    /// It takes away again what was written since: an outcome that is not known matters.
    Rollback,
}

impl Action {
    /// The service in the signature's scope.
    pub const SERVICE: &str = "cbs";
    /// The version of the API.
    pub const VERSION: &str = "2017-03-12";
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CreateDiskBackup,
        Self::DescribeDiskBackups,
        Self::DeleteDiskBackups,
        Self::DescribeDisks,
        Self::ApplyDiskBackup,
        Self::CreateSnapshot,
        Self::DescribeSnapshots,
        Self::DeleteSnapshots,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateDiskBackup => "CreateDiskBackup",
            Self::DescribeDiskBackups => "DescribeDiskBackups",
            Self::DeleteDiskBackups => "DeleteDiskBackups",
            Self::DescribeDisks => "DescribeDisks",
            Self::ApplyDiskBackup => "ApplyDiskBackup",
            Self::CreateSnapshot => "CreateSnapshot",
            Self::DescribeSnapshots => "DescribeSnapshots",
            Self::DeleteSnapshots => "DeleteSnapshots",
        }
    }

    /// What sending it twice does.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::CreateDiskBackup | Self::CreateSnapshot => Kind::Create,
            Self::DescribeDiskBackups | Self::DescribeDisks | Self::DescribeSnapshots => Kind::Read,
            Self::DeleteDiskBackups | Self::DeleteSnapshots => Kind::Delete,
            Self::ApplyDiskBackup => Kind::Rollback,
        }
    }

    /// How many calls a second the cloud documents as its limit.
    #[must_use]
    pub fn documented_limit(self) -> u32 {
        match self {
            Self::DescribeDisks => 100,
            Self::CreateDiskBackup
            | Self::DescribeDiskBackups
            | Self::DeleteDiskBackups
            | Self::ApplyDiskBackup
            | Self::CreateSnapshot
            | Self::DescribeSnapshots
            | Self::DeleteSnapshots => 20,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
