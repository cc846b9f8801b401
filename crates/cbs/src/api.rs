//! The actions, typed: parameters, replies, and lists read to their end.
//!
//! Responsible for reading tolerantly what the cloud writes: it adds fields, writes null where a list is
//! documented, and new states. It refuses a listing that it cannot read completely.

mod disk_backups;
mod disks;
mod listing;
mod snapshots;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::disk_backups::{Accepted, BackupState, BackupsQuery, Deleted, DiskBackup, Power};
pub use self::disks::{Disk, DiskState, DisksQuery};
pub use self::listing::{Listing, Page};
pub use self::snapshots::{NewSnapshot, Snapshot, SnapshotAccepted, SnapshotState, SnapshotsQuery};

/// A condition on a listing: the field has one of the values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter {
    /// The field, such as `disk-id` or `tag:backup`.
    pub name: String,
    /// Any of these.
    pub values: Vec<String>,
}

impl Filter {
    /// A condition.
    #[must_use]
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), values: values.into_iter().map(Into::into).collect() }
    }
}

/// A closed set of texts on the wire that is not closed at all.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A text that is not in the documentation; empty if there was none.
            Other(String),
        }

        impl $name {
            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match &*text {
                    $($text => Self::$variant,)*
                    _ => Self::Other(text),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?))
            }
        }
    };
}
use open_enum;

/// Null is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What identifies an item of a listing: without it the listing says nothing.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if id.trim().is_empty() { Err(serde::de::Error::custom("an id is empty")) } else { Ok(id) }
}

/// A `CreateTime`, if it can be read: nothing important is decided by it.
fn create_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().and_then(parse_create_time))
}

/// Both shapes: with an offset, and without, which then is Beijing time.
fn parse_create_time(text: &str) -> Option<Timestamp> {
    let beijing = TimeZone::fixed(Offset::constant(8));
    text.parse().ok().or_else(|| beijing.to_timestamp(text.parse::<DateTime>().ok()?).ok())
}

#[cfg(test)]
mod spoilt;
#[cfg(test)]
mod tests;
