//! CreateDiskBackup: accepts a backup, which then comes into being by itself. Never idempotent.

use super::{Action, Answer, Call};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::params::{Field, Kind};

pub(super) const ACTION: Action = Action {
    name: "CreateDiskBackup",
    limit: 20,
    fields: &[Field::required("DiskId", Kind::Text), Field::optional("DiskBackupName", Kind::Text)],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    const LONGEST_NAME: usize = 100;
    let disk = call.params.required_text("DiskId")?;
    if !disk.starts_with("disk-") {
        return Err(ApiError::invalid_value("DiskId", "an id such as `disk-1a2b3c4d`"));
    }
    let name = call.params.text("DiskBackupName").unwrap_or_default();
    if name.chars().count() > LONGEST_NAME {
        return Err(ApiError::invalid_value("DiskBackupName", "at most 100 characters"));
    }
    let id = cloud.create_backup(call.place, disk, name, call.now, call.fate)?;
    Ok(Answer::from_iter([("DiskBackupId".to_owned(), id.into())]))
}
