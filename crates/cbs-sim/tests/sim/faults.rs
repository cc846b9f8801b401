//! What each effect does to the work, to the reply and to the ledger.

use std::time::Duration;

use cbs_sim::{Disk, Effect, Outcome, Reply, RequestRecord, Rule, Timings, Which, World};
use serde_json::json;

use crate::support::{Caller, api, code, world};

fn meets(effect: Effect) -> (Caller, Reply, RequestRecord) {
    let caller = Caller::with_faults(world([Disk::new("disk-1")]), [Rule::on("CreateDiskBackup", effect)]);
    let create = json!({"DiskId": "disk-1", "DiskBackupName": "a"});
    let reply = caller.sim.handle(&caller.signer.sign("CreateDiskBackup", &create.to_string(), caller.now()));
    let record = caller.sim.ledger().requests[0].clone();
    assert_eq!((record.disk_id.as_deref(), record.name.as_deref()), (Some("disk-1"), Some("a")));
    (caller, reply, record)
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Respond(_) => "respond",
        Outcome::DropConnection => "drop",
        Outcome::ResetConnection => "reset",
        Outcome::NeverReply => "never",
        Outcome::TruncatedBody(..) => "cut",
    }
}

/// Effect -> (what the network does, code in the ledger, is there a backup, was a reply sent).
#[test]
fn effects_leave_their_work_and_their_trace() {
    let (code, message) = ("InternalError".to_owned(), String::new());
    let lost = Some("InternalError");
    for (effect, network, code, exists, replied) in [
        (Effect::Error { code: code.clone(), message: message.clone() }, "respond", lost, false, true),
        (Effect::ErrorAfter { code, message }, "respond", lost, true, true),
        (Effect::Http { status: 502, body: String::new(), executed: true }, "respond", None, true, true),
        (Effect::Http { status: 502, body: String::new(), executed: false }, "respond", lost, false, true),
        (Effect::TruncatedJson { executed: true }, "respond", None, true, true),
        (Effect::TruncatedJson { executed: false }, "respond", lost, false, true),
        (Effect::ShortBody { executed: true }, "cut", None, true, false),
        (Effect::ShortBody { executed: false }, "cut", lost, false, false),
        (Effect::Drop { executed: true }, "drop", None, true, false),
        (Effect::Drop { executed: false }, "drop", lost, false, false),
        (Effect::Reset { executed: true }, "reset", None, true, false),
        (Effect::Reset { executed: false }, "reset", lost, false, false),
        (Effect::Timeout { executed: true }, "never", None, true, false),
        (Effect::Timeout { executed: false }, "never", lost, false, false),
        (Effect::NoResult, "respond", None, true, true),
    ] {
        let (caller, reply, record) = meets(effect.clone());
        assert_eq!(outcome_name(&reply.outcome), network, "{effect:?}");
        assert_eq!(record.code.as_deref(), code, "{effect:?}");
        assert_eq!(caller.sim.ledger().backups.len(), usize::from(exists), "{effect:?}");
        assert_eq!((record.executed, record.replied), (exists, replied), "{effect:?}");
        assert_eq!(record.backup_id.is_some(), exists, "{effect:?}");
        assert!(record.fault.is_some(), "{effect:?}");
    }
}

#[test]
fn an_error_has_the_code_and_the_text_of_the_script() {
    let (_, reply, _) =
        meets(Effect::Error { code: "ResourceBusy".to_owned(), message: "try later".to_owned() });
    let Outcome::Respond(response) = reply.outcome else { panic!("{reply:?}") };
    assert_eq!(api(&response)["Error"], json!({"Code": "ResourceBusy", "Message": "try later"}));
}

#[test]
fn a_gateways_answer_is_no_json() {
    let (_, reply, _) = meets(Effect::Http { status: 502, body: "<html>".to_owned(), executed: true });
    let Outcome::Respond(response) = reply.outcome else { panic!("{reply:?}") };
    assert_eq!((response.status, response.header("content-type")), (502, Some("text/html")));
    assert_eq!(response.body.as_ref(), b"<html>");
}

#[test]
fn truncated_json_is_complete_for_http_and_a_short_body_is_not() {
    let (_, reply, _) = meets(Effect::TruncatedJson { executed: true });
    let Outcome::Respond(response) = reply.outcome else { panic!("{reply:?}") };
    let error = serde_json::from_slice::<serde_json::Value>(&response.body).unwrap_err();
    assert!(error.is_eof(), "{error}");
    let (_, reply, _) = meets(Effect::ShortBody { executed: true });
    let Outcome::TruncatedBody(response, length) = reply.outcome else { panic!("{reply:?}") };
    assert!(0 < length && length < response.body.len());
}

#[test]
fn no_result_is_neither_an_error_nor_an_id() {
    let (_, reply, record) = meets(Effect::NoResult);
    let Outcome::Respond(response) = reply.outcome else { panic!("{reply:?}") };
    assert_eq!(api(&response), json!({"RequestId": record.request_id}));
}

#[test]
fn slowness_adds_to_the_usual_time_of_a_reply() {
    let timings = Timings { reply_ms: (20, 20), ..Timings::default() };
    let slow = Rule::on("DescribeDisks", Effect::Slow { ms: 800 }).which(Which::First(1));
    let caller = Caller::with_faults(World { timings, ..world([]) }, [slow]);
    let delay = || caller.sim.handle(&caller.signer.sign("DescribeDisks", "{}", caller.now())).delay;
    assert_eq!(delay(), Duration::from_millis(820));
    assert_eq!(delay(), Duration::from_millis(20));
}

#[test]
fn a_vanishing_backup_is_creating_and_then_gone() {
    let (caller, reply, record) = meets(Effect::Vanish);
    assert_eq!(outcome_name(&reply.outcome), "respond");
    let look = || caller.call("DescribeDiskBackups", &json!({"DiskBackupIds": [record.backup_id]}));
    caller.pass(Duration::from_secs(59));
    assert_eq!(look()["DiskBackupSet"][0]["DiskBackupState"], "CREATING");
    caller.pass(Duration::from_secs(1));
    assert_eq!(look()["TotalCount"], 0);
    let ledger = caller.sim.ledger();
    assert_eq!((ledger.backups.len(), ledger.gone[0].state.as_str()), (0, "VANISHED"));
    caller.sim.set_faults(vec![]);
    assert_eq!(
        caller.code("CreateDiskBackup", &json!({"DiskId": "disk-1"})),
        "ok",
        "its place is free again"
    );
}

#[test]
fn a_stuck_backup_creates_for_ever() {
    let (caller, _, record) = meets(Effect::Stuck);
    caller.pass(Duration::from_secs(86_400));
    let answer = caller.call("DescribeDiskBackups", &json!({"DiskBackupIds": [record.backup_id]}));
    let backup = &answer["DiskBackupSet"][0];
    assert_eq!((&backup["DiskBackupState"], &backup["Percent"]), (&json!("CREATING"), &json!(99)));
    assert_eq!(
        caller.code("CreateDiskBackup", &json!({"DiskId": "disk-1"})),
        "ResourceUnavailable.SnapshotCreating"
    );
}

#[test]
fn a_refusal_of_the_back_end_may_be_lost_too() {
    let drop = Rule::on("CreateDiskBackup", Effect::Drop { executed: true });
    let caller = Caller::with_faults(world([Disk { quota: 0, ..Disk::new("disk-1") }]), [drop]);
    assert_eq!(caller.send("CreateDiskBackup", &json!({"DiskId": "disk-1"})), Outcome::DropConnection);
    let record = &caller.sim.ledger().requests[0];
    assert_eq!(record.code.as_deref(), Some("ResourceInsufficient.OverQuota"));
    assert!(!record.executed && !record.replied);
}

#[test]
fn a_throttled_request_uses_up_no_accident() {
    let drop = Rule::on("CreateDiskBackup", Effect::Drop { executed: true }).which(Which::Nth(1));
    let caller = Caller::with_faults(world([Disk::new("disk-1")]), [drop]);
    let create = json!({"DiskId": "disk-1"});
    caller.sim.set_rate_limit("CreateDiskBackup", 0);
    assert_eq!(caller.code("CreateDiskBackup", &create), "RequestLimitExceeded");
    caller.sim.set_rate_limit("CreateDiskBackup", 20);
    assert_eq!(caller.send("CreateDiskBackup", &create), Outcome::DropConnection);
}

#[test]
fn a_rule_for_a_disk_finds_it_in_ids_filters_and_backups() {
    let rule = Rule {
        disks: vec!["disk-1".to_owned()],
        ..Rule::always(Effect::Error { code: "ResourceBusy".to_owned(), message: String::new() })
    };
    let caller = Caller::new(world([Disk::new("disk-1"), Disk::new("disk-2")]));
    let backup = caller.call("CreateDiskBackup", &json!({"DiskId": "disk-1"}))["DiskBackupId"].clone();
    caller.sim.set_faults(vec![rule]);
    for (action, body, expected) in [
        ("CreateDiskBackup", json!({"DiskId": "disk-1"}), "ResourceBusy"),
        ("CreateDiskBackup", json!({"DiskId": "disk-2"}), "ok"),
        ("DescribeDisks", json!({"DiskIds": ["disk-2", "disk-1"]}), "ResourceBusy"),
        ("DescribeDisks", json!({}), "ok"),
        (
            "DescribeDiskBackups",
            json!({"Filters": [{"Name": "disk-id", "Values": ["disk-1"]}]}),
            "ResourceBusy",
        ),
        ("DescribeDiskBackups", json!({"Filters": [{"Name": "disk-id", "Values": ["disk-2"]}]}), "ok"),
        ("DescribeDiskBackups", json!({"DiskBackupIds": [backup]}), "ResourceBusy"),
        ("DeleteDiskBackups", json!({"DiskBackupIds": [backup]}), "ResourceBusy"),
    ] {
        assert_eq!(code(&caller.call(action, &body)), expected, "{action} {body}");
    }
}

#[test]
fn a_script_that_is_set_again_draws_anew() {
    let error = Effect::Error { code: "ResourceBusy".to_owned(), message: String::new() };
    let rule = Rule::always(error).which(Which::Probability(0.5));
    let caller = Caller::new(world([Disk::new("disk-1")]));
    let met = || {
        caller.sim.set_faults(vec![rule.clone()]);
        let codes: Vec<_> = (0..20).map(|_| caller.code("DescribeDisks", &json!({}))).collect();
        codes
    };
    assert_ne!(met(), met());
}
