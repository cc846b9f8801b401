//! What the API can do: one file for each action, one row in [`ACTIONS`].

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::{Cloud, Place};
use crate::error::ApiError;
use crate::faults::Fate;
use crate::params::{Field, Params};

mod apply_disk_backup;
mod assume_role;
mod create_disk_backup;
mod create_snapshot;
mod delete_disk_backups;
mod delete_snapshots;
mod describe_disk_backups;
mod describe_disks;
mod describe_snapshots;

const ACTIONS: &[&Action] = &[
    &apply_disk_backup::ACTION,
    &create_disk_backup::ACTION,
    &delete_disk_backups::ACTION,
    &describe_disk_backups::ACTION,
    &describe_disks::ACTION,
    &create_snapshot::ACTION,
    &delete_snapshots::ACTION,
    &describe_snapshots::ACTION,
];

/// Those of the Security Token Service.
const STS: &[&Action] = &[&assume_role::SIGNED, &assume_role::WITH_WEB_IDENTITY];

/// The one action that takes no signature: `Authorization: SKIP`.
pub(crate) const UNSIGNED: &str = "AssumeRoleWithWebIdentity";

/// Whose an action is, by the scope of its signature and its version.
pub(crate) fn service(name: &str) -> (&'static str, &'static str) {
    if STS.iter().any(|action| action.name == name) { ("sts", "2018-08-13") } else { ("cbs", "2017-03-12") }
}

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
    ACTIONS.iter().chain(STS).copied().find(|action| action.name == name)
}

/// A listing as the vendor answers it.
fn listing(set: &str, (total, items): (usize, Vec<Value>)) -> Answer {
    Answer::from_iter([("TotalCount".to_owned(), total.into()), (set.to_owned(), items.into())])
}
