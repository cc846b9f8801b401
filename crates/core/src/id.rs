//! Names of things: disks, backups, snapshots, jobs, targets, runs, and the backup name that carries a run's identity.
//!
//! Responsible for their syntax: a value of one of these types is well-formed. It refuses whatever else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a well-formed name; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }

    /// What would have been right, as a noun phrase.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $expected:literal, $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidId::new(text, $expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

names! {
    /// A CBS disk, `disk-…`.
    DiskId: "a disk id (`disk-` and lower-case letters and digits, such as `disk-1a2b3c4d`)",
        |text| text.strip_prefix("disk-").is_some_and(is_vendor_suffix);

    /// A backup point of the cloud, `dbp-…`.
    BackupId: "a backup id (`dbp-` and lower-case letters and digits)",
        |text| text.strip_prefix("dbp-").is_some_and(is_vendor_suffix);

    /// A snapshot of the cloud, `snap-…`: a backup point that was promoted.
    SnapshotId: "a snapshot id (`snap-` and lower-case letters and digits)",
        |text| text.strip_prefix("snap-").is_some_and(is_vendor_suffix);
    /// What a disk is attached to, `ins-…`; of other products it begins otherwise.
    InstanceId: "an instance id (letters, digits and hyphens, such as `ins-1a2b3c4d`)",
        |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');

    /// The mark of one installation in every backup name that it gives.
    Owner: "an owner (1 to 8 lower-case letters and digits)",
        |text| (1..=8).contains(&text.len()) && text.bytes().all(is_lower_or_digit);

    /// A named entry of the configuration: which disks, when, what to keep.
    JobName: "a job name (1 to 32 lower-case letters, digits and hyphens)",
        |text| (1..=32).contains(&text.len()) && text.bytes().all(|b| is_lower_or_digit(b) || b == b'-');

    /// Somebody who is told of troubles, as the configuration names it.
    NotifierName: "a notifier's name (1 to 32 lower-case letters, digits and hyphens)",
        |text| (1..=32).contains(&text.len()) && text.bytes().all(|b| is_lower_or_digit(b) || b == b'-');

    /// An account in a region, as the configuration names it.
    TargetName: "a target name (1 to 32 lower-case letters, digits and hyphens)",
        |text| (1..=32).contains(&text.len()) && text.bytes().all(|b| is_lower_or_digit(b) || b == b'-');
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_vendor_suffix(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(is_lower_or_digit)
}

impl JobName {
    /// The job of backups that a person asked for on a disk that no configured job holds.
    pub const MANUAL: &str = "manual";

    /// Whether this is the reserved name [`Self::MANUAL`].
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.as_str() == Self::MANUAL
    }
}

/// The identity of a run: one due instant of one job on one disk. Planning it twice is harmless.
///
/// Its text is `job/disk/20261124T183000Z`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The job.
    pub job: JobName,
    /// The disk.
    pub disk: DiskId,
    /// The nominal instant of the job's cron, in whole seconds.
    pub due: Timestamp,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.disk, compact(self.due))
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId::new(text, "a run (`JOB/DISK/DUE`, such as `db/disk-1a2b3c4d/20261124T183000Z`)");
        let mut parts = text.split('/');
        let (Some(job), Some(disk), Some(due), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            job: job.parse().map_err(|_| invalid())?,
            disk: disk.parse().map_err(|_| invalid())?,
            due: parse_compact(due).ok_or_else(invalid)?,
        })
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The name that a backup bears in the cloud: `{owner}_{job}_{due}`, due in UTC.
///
/// With the disk it is the [`RunId`], so a reply that was lost can be made good by looking for the name. At
/// most 58 characters: it survives promotion to a snapshot, whose names end at 60.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupName {
    /// The installation that gave the name.
    pub owner: Owner,
    /// The job of the run.
    pub job: JobName,
    /// The due instant of the run.
    pub due: Timestamp,
}

impl BackupName {
    /// The name of a run's backup.
    #[must_use]
    pub fn of(owner: &Owner, run: &RunId) -> Self {
        Self { owner: owner.clone(), job: run.job.clone(), due: run.due }
    }

    /// The run that a backup of this name on `disk` belongs to.
    #[must_use]
    pub fn run_on(&self, disk: DiskId) -> RunId {
        RunId { job: self.job.clone(), disk, due: self.due }
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.owner, self.job, compact(self.due))
    }
}

impl FromStr for BackupName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a backup name of ours (`OWNER_JOB_YYYYMMDDTHHMMSSZ`)");
        let mut parts = text.split('_');
        let (Some(owner), Some(job), Some(due), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            owner: owner.parse().map_err(|_| invalid())?,
            job: job.parse().map_err(|_| invalid())?,
            due: parse_compact(due).ok_or_else(invalid)?,
        })
    }
}

/// `20261124T183000Z`: the basic form of ISO 8601, in UTC, to the second.
fn compact(instant: Timestamp) -> impl fmt::Display {
    instant.strftime("%Y%m%dT%H%M%SZ")
}

/// Reads what [`compact`] writes, and nothing that it would have written differently.
fn parse_compact(text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let instant = TimeZone::UTC.to_timestamp(civil).ok()?;
    (compact(instant).to_string() == text).then_some(instant)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(due: i64) -> RunId {
        RunId {
            job: "db-nightly".parse().unwrap(),
            disk: "disk-1a2b3c4d".parse().unwrap(),
            due: Timestamp::from_second(due).unwrap(),
        }
    }

    #[test]
    fn a_backup_name_is_owner_job_and_due_in_utc() {
        let name = BackupName::of(&"ops1".parse().unwrap(), &run(1_795_545_000));
        assert_eq!(name.to_string(), "ops1_db-nightly_20261124T183000Z");
        assert_eq!(run(1_795_545_000).to_string(), "db-nightly/disk-1a2b3c4d/20261124T183000Z");
    }

    #[test]
    fn the_longest_name_survives_promotion_to_a_snapshot() {
        let run = RunId { job: "j".repeat(32).parse().unwrap(), ..run(0) };
        assert!(BackupName::of(&"o".repeat(8).parse().unwrap(), &run).to_string().len() <= 60);
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let error = "Ops".parse::<Owner>().unwrap_err();
        assert_eq!(error.expected(), "an owner (1 to 8 lower-case letters and digits)");
        assert_eq!(error.to_string(), format!("`Ops` is not {}", error.expected()));
    }

    #[test]
    fn one_job_name_is_reserved() {
        assert!("manual".parse::<JobName>().unwrap().is_manual());
        assert!(!"manual-2".parse::<JobName>().unwrap().is_manual());
    }

    #[test]
    fn ill_formed_names_are_refused() {
        for text in ["", "disk-", "disk-ABC", "dsk-1", "disk-1 ", "disk-é"] {
            assert!(text.parse::<DiskId>().is_err(), "{text}");
        }
        for text in ["", "ninechars", "Ops", "a-b", "a_b"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
        for text in ["", "a_b", "DB", &"j".repeat(33)] {
            assert!(text.parse::<JobName>().is_err(), "{text}");
        }
        for text in
            ["ops1_db_20261324T183000Z", "ops1_db_20261124T183000", "ops1_db_x_20261124T183000Z", "ops1_db"]
        {
            assert!(text.parse::<BackupName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn names_and_runs_are_read_as_written(
            owner in "[a-z0-9]{1,8}", job in "[a-z0-9-]{1,32}", disk in "disk-[a-z0-9]{8}", due in 0_i64..4_000_000_000,
        ) {
            let run = RunId {
                job: job.parse().unwrap(), disk: disk.parse().unwrap(), due: Timestamp::from_second(due).unwrap(),
            };
            prop_assert_eq!(run.to_string().parse::<RunId>().unwrap(), run.clone());
            let name = BackupName::of(&owner.parse().unwrap(), &run);
            let read: BackupName = name.to_string().parse().unwrap();
            prop_assert_eq!(&read, &name);
            prop_assert_eq!(read.run_on(run.disk.clone()), run);
        }

        #[test]
        fn what_is_read_is_written_back_the_same(text in "[a-z0-9]{1,9}_[a-z0-9-]{1,5}_[0-9]{8}T[0-9]{6}Z") {
            if let Ok(name) = text.parse::<BackupName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
