//! DeleteDiskBackups: all of them or none.

use super::{Action, Answer, Call};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::params::{Field, Kind, missing};

pub(super) const ACTION: Action = Action {
    name: "DeleteDiskBackups",
    limit: 20,
    fields: &[Field::required("DiskBackupIds", Kind::Texts)],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let ids = call.params.texts("DiskBackupIds").ok_or_else(|| missing("DiskBackupIds"))?;
    cloud.delete_backups(call.place, &ids, call.now)?;
    Ok(Answer::new())
}
