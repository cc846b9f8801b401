//! CreateSnapshot: of a disk, or of a backup, which is consumed. Never idempotent.

use jiff::{SignedDuration, Timestamp};

use super::{Action, Answer, Call};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::params::{Field, Kind, missing};
use crate::snapshots::NewSnapshot;

pub(super) const ACTION: Action = Action {
    name: "CreateSnapshot",
    limit: 20,
    fields: &[
        Field::optional("DiskId", Kind::Text),
        Field::optional("SnapshotName", Kind::Text),
        Field::optional("Deadline", Kind::Text),
        Field::optional("DiskBackupId", Kind::Text),
        Field::optional("Tags", Kind::Tags),
        Field::optional("LocalSnap", Kind::Flag),
        Field::optional("DiskUsage", Kind::Text),
    ],
    run,
};

const LONGEST_NAME: usize = 60;
const EARLIEST_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let backup = call.params.text("DiskBackupId");
    let home = backup.and_then(|backup| cloud.home_of(backup)).map(str::to_owned);
    let Some(disk) = call.params.text("DiskId").map(str::to_owned).or(home) else {
        return Err(missing("DiskId"));
    };
    cloud.disk(call.place, &disk).ok_or_else(|| crate::cloud::disk_not_found(&disk))?;
    let name = call.params.text("SnapshotName").unwrap_or_default();
    if name.chars().count() > LONGEST_NAME {
        return Err(ApiError::invalid_value("SnapshotName", "at most 60 characters"));
    }
    let deadline = call.params.text("Deadline");
    let is_early = |text: &str| {
        text.parse::<Timestamp>().map_or(true, |at| at.duration_since(call.now) < EARLIEST_DEADLINE)
    };
    if deadline.is_some_and(is_early) {
        return Err(ApiError::invalid_value("Deadline", "an instant at least one day from now"));
    }
    let (region, fate) = (call.place.region, call.fate);
    let new = NewSnapshot { region, disk: &disk, backup, name, deadline, fate };
    let id = cloud.promote(call.place, new, call.now)?;
    Ok(Answer::from_iter([("SnapshotId".to_owned(), id.into())]))
}
