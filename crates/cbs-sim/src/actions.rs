//! What the API can do: one file for each action, one row in [`ACTIONS`].

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::{Cloud, Place};
use crate::error::ApiError;
use crate::faults::Fate;
use crate::params::{Field, Params};

mod create_disk_backup;
mod delete_disk_backups;
mod describe_disk_backups;
mod describe_disks;

const ACTIONS: &[&Action] = &[
    &create_disk_backup::ACTION,
    &delete_disk_backups::ACTION,
    &describe_disk_backups::ACTION,
    &describe_disks::ACTION,
];

/// An action: what it takes, how often it may be called, what it does.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    /// Requests a second, unless the world says otherwise.
    pub(crate) limit: u32,
    pub(crate) fields: &'static [Field],
    pub(crate) run: fn(&mut Cloud, &Call<'_>) -> Result<Answer, ApiError>,
}

/// A request that has passed the checks.
pub(crate) struct Call<'a> {
    pub(crate) now: Timestamp,
    pub(crate) place: Place<'a>,
    pub(crate) params: &'a Params,
    /// How a backup that it creates shall end.
    pub(crate) fate: Fate,
}

/// The fields of `Response`, but for the RequestId.
pub(crate) type Answer = Map<String, Value>;

/// The action of this name.
pub(crate) fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().copied().find(|action| action.name == name)
}

/// A listing as the vendor answers it.
fn listing(set: &str, (total, items): (usize, Vec<Value>)) -> Answer {
    Answer::from_iter([("TotalCount".to_owned(), total.into()), (set.to_owned(), items.into())])
}
