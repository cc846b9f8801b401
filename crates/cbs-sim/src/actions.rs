//! The actions: one row each, one file for each kind of thing.

mod backups;
mod disks;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::Fate;
use crate::judge::ApiError;
use crate::sim::Inner;

/// What an action does.
pub(crate) type Run = fn(&mut Inner, &Map<String, Value>, Fate, Timestamp) -> Result<Value, ApiError>;

/// An action of the API.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [&'static str],
    pub(crate) required: &'static [&'static str],
    pub(crate) run: Run,
}

pub(crate) const ALL: &[Action] = &[
    Action {
        name: "CreateDiskBackup",
        fields: &["DiskId", "DiskBackupName"],
        required: &["DiskId"],
        run: backups::create,
    },
    Action {
        name: "DescribeDiskBackups",
        fields: &["DiskBackupIds", "Filters", "Offset", "Limit", "Order", "OrderField"],
        required: &[],
        run: backups::describe,
    },
    Action {
        name: "DeleteDiskBackups",
        fields: &["DiskBackupIds"],
        required: &["DiskBackupIds"],
        run: backups::delete,
    },
    Action {
        name: "DescribeDisks",
        fields: &[
            "Filters",
            "Limit",
            "OrderField",
            "Offset",
            "ReturnBindAutoSnapshotPolicy",
            "DiskIds",
            "Order",
        ],
        required: &[],
        run: disks::describe,
    },
];

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// A text field.
fn text<'b>(body: &'b Map<String, Value>, key: &str) -> Result<Option<&'b str>, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("`{key}` must be a string."))),
    }
}

/// A list of texts.
fn texts(value: Option<&Value>, key: &str) -> Result<Option<Vec<String>>, ApiError> {
    let wrong = || invalid(format!("`{key}` must be a list of strings."));
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

/// `Filters`: names and the values that are wanted, by names that the action knows.
fn filters(
    body: &Map<String, Value>,
    known: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<String>)>, ApiError> {
    let Some(filters) = body.get("Filters").filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let filters = filters.as_array().ok_or_else(|| invalid("`Filters` must be a list."))?;
    let read = |filter: &Value| {
        let name = filter
            .get("Name")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("A filter must have a `Name`."))?;
        if !known(name) {
            return Err(ApiError::new("InvalidFilter", format!("The filter `{name}` is not supported.")));
        }
        let values =
            texts(filter.get("Values"), "Values")?.ok_or_else(|| invalid("A filter must have `Values`."))?;
        Ok((name.to_owned(), values))
    };
    filters.iter().map(read).collect()
}

/// The page that is asked for: `Offset`, and `Limit` up to 100.
fn page<T>(body: &Map<String, Value>, items: Vec<T>) -> Result<Vec<T>, ApiError> {
    let number = |key: &str, default: u64| match body.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().ok_or_else(|| invalid(format!("`{key}` must be a whole number."))),
    };
    let (offset, limit) = (number("Offset", 0)?, number("Limit", 20)?);
    if limit > 100 {
        return Err(invalid("`Limit` must be 100 at most."));
    }
    let (offset, limit) =
        (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or(100));
    Ok(items.into_iter().skip(offset).take(limit).collect())
}
