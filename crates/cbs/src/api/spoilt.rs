//! Good replies, spoilt: what is harmless changes nothing, and nothing makes a false success.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use super::*;
use crate::testing::{Script, client, create};
use crate::{Client, Error, HttpResponse, Priority};

/// A change to one member of an object, or to one element of a list.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Replace(Value),
    /// Puts a member that nobody knows beside it.
    Add,
}

fn harmless() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Change::Remove), Just(Change::Replace(Value::Null)), Just(Change::Add)]
}

fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        Just(json!("")),
        Just(json!(" ")),
        Just(json!("dbp-9")),
        Just(json!({"Code": "ResourceBusy"})),
        Just(json!([])),
        Just(json!([{}])),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    prop_oneof![harmless(), value.prop_map(Change::Replace)]
}

/// JSON pointers to all that is within, those of a member's content after its own.
fn places(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, child)| (name.clone(), child)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect()
        }
        _ => Vec::new(),
    };
    let within = |(name, child): (String, &Value)| {
        let deeper: Vec<String> = places(child).iter().map(|place| format!("/{name}{place}")).collect();
        [format!("/{name}")].into_iter().chain(deeper).collect::<Vec<_>>()
    };
    children.into_iter().flat_map(within).collect()
}

fn apply(value: &mut Value, place: &str, change: Change) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), change) {
        (Value::Object(members), Change::Remove) => drop(members.remove(name)),
        (Value::Object(members), Change::Replace(with)) => drop(members.insert(name.to_owned(), with)),
        (Value::Object(members), Change::Add) => {
            drop(members.insert("Novelty".to_owned(), json!({"Error": [1]})));
        }
        (Value::Array(items), Change::Remove) => drop(items.remove(name.parse().unwrap())),
        (Value::Array(items), Change::Replace(with)) => items[name.parse::<usize>().unwrap()] = with,
        (Value::Array(_), Change::Add) => {}
        (other, _) => unreachable!("{other} has no members"),
    }
}

fn backups() -> Value {
    let backup = |number: u32| {
        json!({
            "DiskBackupId": format!("dbp-{number}"), "DiskId": "disk-1", "DiskBackupName": "n", "DiskUsage": "DATA_DISK",
            "DiskBackupState": "NORMAL", "Percent": 100, "DiskSize": 50, "CreateTime": "2025-03-27 14:00:13",
            "Encrypt": false,
        })
    };
    let set: Vec<Value> = (1..=3).map(backup).collect();
    json!({"Response": {"TotalCount": 3, "DiskBackupSet": set, "RequestId": "r"}})
}

fn disks() -> Value {
    let disk = |number: u32| {
        json!({
            "DiskId": format!("disk-{number}"), "DiskName": "n", "DiskState": "ATTACHED", "DiskUsage": "DATA_DISK",
            "DiskType": "CLOUD_SSD", "DiskSize": 50, "InstanceId": "ins-1", "InstanceIdList": ["ins-1", "ins-2"],
            "DiskBackupQuota": 3, "DiskBackupCount": 1, "Rollbacking": false, "Migrating": false,
            "Tags": [{"Key": "backup", "Value": "nightly"}], "Placement": {"Zone": "ap-guangzhou-3", "ProjectId": 7},
            "CreateTime": "2018-09-26 17:36:07",
        })
    };
    let set: Vec<Value> = (1..=3).map(disk).collect();
    json!({"Response": {"TotalCount": 3, "DiskSet": set, "RequestId": "r"}})
}

/// What `call` makes of a client whose every request is answered so.
fn answered<T>(
    body: Bytes,
    status: u16,
    call: impl AsyncFnOnce(Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let reply = HttpResponse { status, body, ..HttpResponse::default() };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let script = Arc::new(Script::default().then(move |_| Ok(reply.clone())));
        call(client(&script)).await
    })
}

async fn backup_ids(client: Client) -> Result<Vec<String>, Error> {
    let backups = client.list_disk_backups(&BackupsQuery::All, Priority::Tracking).await?;
    Ok(backups.into_iter().map(|backup| backup.id).collect())
}

async fn disk_ids(client: Client) -> Result<Vec<String>, Error> {
    let disks = client.list_disks(&DisksQuery::Where(vec![]), Priority::Reconcile).await?;
    Ok(disks.into_iter().map(|disk| disk.id).collect())
}

/// The members of `Response` of a body that is an answer, and no error; read without any of the client's code.
fn success(body: &[u8], status: u16) -> Option<Map<String, Value>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let response = body.get("Response")?.as_object()?.clone();
    let error = response.get("Error").is_some_and(|error| !error.is_null());
    (status == 200 && !error && text(&response, "RequestId").is_some()).then_some(response)
}

fn text<'a>(of: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

/// The ids of a listing that holds as many as it counts, each once.
fn complete(response: &Map<String, Value>, set: &str, id: &str) -> Option<Vec<String>> {
    let none = Vec::new();
    let items = response
        .get(set)
        .map_or(Some(&none), |set| if set.is_null() { Some(&none) } else { set.as_array() })?;
    let ids: Vec<String> =
        items.iter().map(|item| Some(text(item.as_object()?, id)?.to_owned())).collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = ids.iter().collect();
    let counted = response.get("TotalCount")?.as_u64()? == ids.len() as u64;
    (counted && distinct.len() == ids.len()).then_some(ids)
}

/// A reply with some changes, and perhaps with its bytes cut or one of them overwritten.
fn spoilt(good: Value) -> impl Strategy<Value = (Bytes, u16)> {
    let changes = prop::collection::vec((any::<Index>(), any_change()), 0..4);
    let cut = prop::option::weighted(0.1, any::<Index>());
    let overwritten = prop::option::weighted(0.2, (any::<Index>(), any::<u8>()));
    let status = prop_oneof![9 => Just(200), 1 => any::<u16>()];
    (changes, cut, overwritten, status).prop_map(move |(changes, cut, overwritten, status)| {
        let mut value = good.clone();
        for (at, change) in changes {
            let places = places(&value);
            if !places.is_empty() {
                apply(&mut value, at.get::<String>(&places), change);
            }
        }
        let mut body = value.to_string().into_bytes();
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        if let Some((at, byte)) = overwritten
            && !body.is_empty()
        {
            let at = at.index(body.len());
            body[at] = byte;
        }
        (Bytes::from(body), status)
    })
}

proptest! {
    #[test]
    fn what_the_cloud_may_leave_out_or_add_changes_no_listing(
        changes in prop::collection::vec((any::<Index>(), harmless()), 0..6),
        of_backups: bool,
    ) {
        let (mut value, id) = if of_backups { (backups(), "/DiskBackupId") } else { (disks(), "/DiskId") };
        for (at, change) in changes {
            // Below the items, without what identifies them; elements of lists are no members.
            let optional: Vec<String> = places(&value)
                .into_iter()
                .filter(|place| place.matches('/').count() > 3 && !place.ends_with(id))
                .filter(|place| !place.ends_with(|last: char| last.is_ascii_digit()))
                .collect();
            apply(&mut value, at.get::<String>(&optional), change);
        }
        let body = Bytes::from(value.to_string());
        let (found, expected) = if of_backups {
            (answered(body, 200, backup_ids), ["dbp-1", "dbp-2", "dbp-3"])
        } else {
            (answered(body, 200, disk_ids), ["disk-1", "disk-2", "disk-3"])
        };
        prop_assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn no_spoilt_reply_makes_a_false_acceptance(
        (body, status) in spoilt(json!({"Response": {"DiskBackupId": "dbp-1", "RequestId": "r"}})),
    ) {
        let expected = success(&body, status).and_then(|response| Some(text(&response, "DiskBackupId")?.to_owned()));
        let found = answered(body, status, async |client| create(&client).await);
        prop_assert_eq!(found.map(|accepted| accepted.backup_id).ok(), expected);
    }

    #[test]
    fn no_spoilt_reply_makes_a_false_deletion((body, status) in spoilt(json!({"Response": {"RequestId": "r"}}))) {
        let expected = success(&body, status).is_some();
        let found = answered(body, status, async |client| client.delete_disk_backup("dbp-1", Priority::Retention).await);
        prop_assert_eq!(found.is_ok(), expected);
    }

    #[test]
    fn no_spoilt_reply_makes_a_false_listing((body, status) in spoilt(backups())) {
        // A listing may be refused for less; it may not be accepted for less.
        if let Ok(found) = answered(body.clone(), status, backup_ids) {
            let response = success(&body, status);
            prop_assert_eq!(Some(found), response.and_then(|response| complete(&response, "DiskBackupSet", "DiskBackupId")));
        }
    }

    #[test]
    fn no_spoilt_reply_makes_a_false_inventory((body, status) in spoilt(disks())) {
        if let Ok(found) = answered(body.clone(), status, disk_ids) {
            let response = success(&body, status);
            prop_assert_eq!(Some(found), response.and_then(|response| complete(&response, "DiskSet", "DiskId")));
        }
    }
}
