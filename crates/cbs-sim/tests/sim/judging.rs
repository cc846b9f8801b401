//! Which requests reach the back end: the order of the checks, and the rate limits.

use std::time::Duration;

use cbs_sim::{Credential, Disk, Effect, Outcome, Request, Rule, World};
use serde_json::{Value, json};

use crate::support::{Caller, ID, KEY, Signer, api, code, credential, world};

fn set(request: &mut Request, name: &str, value: Option<&str>) {
    request.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
    if let Some(value) = value {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn answer(caller: &Caller, request: &Request) -> Value {
    match caller.sim.handle(request).outcome {
        Outcome::Respond(response) => {
            assert_eq!(response.status, 200, "an API error is a successful reply");
            assert_eq!(response.header("content-type"), Some("application/json"));
            api(&response)
        }
        other => panic!("no response: {other:?}"),
    }
}

/// Each row mends the first thing that is wrong in the row above.
#[test]
fn a_request_is_judged_in_the_vendors_order() {
    let temporary = Credential { token: Some("token".to_owned()), ..credential("AKIDsts", "sts-key") };
    let caller = Caller::new(World { credentials: vec![temporary], ..world([Disk::new("disk-1")]) });
    caller.sim.set_rate_limit("CreateDiskbackup", 0);
    let long_ago = caller.now() - Duration::from_secs(301);

    let mut signer = Signer { id: "AKIDother".to_owned(), key: "wrong".to_owned(), ..Signer::default() };
    let mut body = json!({"Name": "x"});
    let mut action = "CreateDiskbackup";
    let mut now = long_ago;
    let mut version = Some("2016-01-01");
    let mut region = None;
    let mut token = None;
    let mut authorized = false;
    let mut next = || {
        let mut request = signer.sign(action, &body.to_string(), now);
        set(&mut request, "X-TC-Version", version);
        set(&mut request, "X-TC-Region", region);
        set(&mut request, "X-TC-Token", token);
        if !authorized {
            set(&mut request, "Authorization", Some("Basic QUJD"));
        }
        let answer = answer(&caller, &request);
        assert!(answer["RequestId"].as_str().is_some_and(|id| id.len() == 36), "{answer}");
        let found = code(&answer);
        // What to mend.
        match found.as_str() {
            "AuthFailure.InvalidAuthorization" => authorized = true,
            "AuthFailure.SecretIdNotFound" => signer.id = "AKIDsts".to_owned(),
            "AuthFailure.TokenFailure" => token = Some("token"),
            "AuthFailure.SignatureExpire" => now = caller.now(),
            "AuthFailure.SignatureFailure" => signer.key = "sts-key".to_owned(),
            "RequestLimitExceeded" => caller.sim.set_rate_limit("CreateDiskbackup", 99),
            "InvalidAction" => action = "CreateDiskBackup",
            "NoSuchVersion" => version = Some("2017-03-12"),
            "MissingParameter" if region.is_none() => region = Some("ap-nowhere"),
            "UnsupportedRegion" => region = Some("ap-guangzhou"),
            "UnknownParameter" => body = json!({}),
            "MissingParameter" => body = json!({"DiskId": 7}),
            "InvalidParameter" => body = json!({"DiskId": "vol-1"}),
            "InvalidParameterValue" => body = json!({"DiskId": "disk-2"}),
            "InvalidDiskId.NotFound" => body = json!({"DiskId": "disk-1"}),
            _ => {}
        }
        found
    };
    for expected in [
        "AuthFailure.InvalidAuthorization",
        "AuthFailure.SecretIdNotFound",
        "AuthFailure.TokenFailure",
        "AuthFailure.SignatureExpire",
        "AuthFailure.SignatureFailure",
        "RequestLimitExceeded",
        "InvalidAction",
        "NoSuchVersion",
        "MissingParameter",
        "UnsupportedRegion",
        "UnknownParameter",
        "MissingParameter",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidDiskId.NotFound",
        "ok",
    ] {
        assert_eq!(next(), expected);
    }
    let ledger = caller.sim.ledger();
    assert_eq!(ledger.requests.len(), 16);
    assert_eq!(ledger.requests.iter().filter(|request| request.executed).count(), 1);
    assert_eq!(ledger.requests[4].identity, None);
    assert_eq!(ledger.requests[5].identity.as_deref(), Some("AKIDsts"));
}

#[test]
fn only_a_json_object_posted_to_the_root_is_a_call() {
    let caller = Caller::new(world([]));
    let with = |body: &str| caller.signer.sign("DescribeDisks", body, caller.now());
    assert_eq!(code(&answer(&caller, &with("{}"))), "ok");
    for body in ["", "[]", "{", "null"] {
        assert_eq!(code(&answer(&caller, &with(body))), "InvalidParameter", "{body}");
    }
    let get = Request { method: "GET".to_owned(), ..with("{}") };
    assert_eq!(code(&answer(&caller, &get)), "UnsupportedProtocol");
    let elsewhere = Request { path: "/v1".to_owned(), ..with("{}") };
    assert_eq!(code(&answer(&caller, &elsewhere)), "UnsupportedProtocol");
}

#[test]
fn a_body_has_at_most_ten_megabytes() {
    let caller = Caller::new(world([]));
    let sized = |bytes: usize| {
        code(&answer(&caller, &caller.signer.sign("DescribeDisks", &" ".repeat(bytes), caller.now())))
    };
    assert_eq!(sized(10 << 20), "InvalidParameter", "it is white space");
    assert_eq!(sized((10 << 20) + 1), "RequestSizeLimitExceeded");
}

#[test]
fn keys_can_be_changed_and_are_never_shown() {
    let world = world([]);
    let shown = format!("{world:?}");
    assert!(shown.contains(ID) && !shown.contains(KEY), "{shown}");
    let caller = Caller::new(world);
    caller.sim.set_credentials(vec![credential("AKIDnew", "new-key")]);
    assert_eq!(caller.code("DescribeDisks", &json!({})), "AuthFailure.SecretIdNotFound");
    let signer = Signer { id: "AKIDnew".to_owned(), key: "new-key".to_owned(), ..Signer::default() };
    let request = signer.sign("DescribeDisks", "{}", caller.now());
    assert_eq!(code(&answer(&caller, &request)), "ok");
}

fn disks_called(caller: &Caller, times: usize) -> usize {
    (0..times).filter(|_| caller.code("DescribeDiskBackups", &json!({})) == "ok").count()
}

#[test]
fn the_excess_of_a_second_is_refused_with_the_vendors_text_and_never_executed() {
    let caller = Caller::new(world([Disk { quota: 100, ..Disk::new("disk-1") }]));
    caller.sim.set_rate_limit("CreateDiskBackup", 1);
    let create = json!({"DiskId": "disk-1", "DiskBackupName": "a"});
    assert_eq!(caller.code("CreateDiskBackup", &create), "ok");
    let refused = caller.call("CreateDiskBackup", &create);
    assert_eq!(refused["Error"]["Code"], "RequestLimitExceeded");
    assert_eq!(
        refused["Error"]["Message"],
        "Your current request times equals to `2` in a second, which exceeds the frequency limit `1` for a second. \
         Please reduce the frequency of calls."
    );
    let ledger = caller.sim.ledger();
    assert_eq!(ledger.backups.len(), 1);
    assert_eq!(ledger.requests[1].code.as_deref(), Some("RequestLimitExceeded"));
    assert!(!ledger.requests[1].executed && ledger.requests[1].replied);
}

#[test]
fn windows_are_seconds_of_the_servers_clock() {
    let caller = Caller::new(world([]));
    caller.pass(Duration::from_millis(900));
    assert_eq!(disks_called(&caller, 25), 20);
    caller.pass(Duration::from_millis(99));
    assert_eq!(disks_called(&caller, 1), 0);
    caller.pass(Duration::from_millis(1));
    assert_eq!(disks_called(&caller, 25), 20);
    assert_eq!(caller.sim.ledger().peak_arrivals_in_any_second("DescribeDiskBackups"), 51);
}

#[test]
fn callers_gateways_and_actions_have_buckets_of_their_own() {
    let shared = |id| Credential { identity: Some("role".to_owned()), ..credential(id, "k") };
    let credentials = vec![credential("A", "k"), shared("B"), shared("C")];
    let mut caller = Caller::new(World { credentials, ..world([]) });
    caller.signer.key = "k".to_owned();
    let mut called = |id: &str, host: &str, times| {
        caller.signer.id = id.to_owned();
        caller.signer.host = host.to_owned();
        disks_called(&caller, times)
    };
    let (one, two) = ("cbs.tencentcloudapi.com", "cbs.ap-shanghai.tencentcloudapi.com");
    assert_eq!(called("A", one, 21), 20);
    assert_eq!(called("A", two, 21), 20);
    assert_eq!(called("B", one, 15), 15);
    assert_eq!(called("C", one, 15), 5, "another key of the same caller");
    assert_eq!(called("C", "127.0.0.1:80", 15), 15);
    assert_eq!(called("C", "http://localhost:80", 15), 5, "the same local server by another name");
    assert_eq!(caller.code("DescribeDisks", &json!({})), "ok");
}

#[test]
fn a_refused_signature_draws_on_no_bucket() {
    let mut caller = Caller::new(world([]));
    caller.signer.key = "wrong".to_owned();
    assert_eq!(disks_called(&caller, 30), 0);
    caller.signer = Signer::default();
    assert_eq!(disks_called(&caller, 30), 20);
}

#[test]
fn someone_else_uses_half_of_the_bucket_for_a_while() {
    let half = Rule {
        from_ms: 5_000,
        until_ms: Some(25_000),
        ..Rule::on("DescribeDiskBackups", Effect::Limit { per_second: 10 })
    };
    let caller = Caller::with_faults(world([]), [half]);
    let mut allowed = Vec::new();
    for _ in 0..6 {
        allowed.push(disks_called(&caller, 25));
        caller.pass(Duration::from_secs(5));
    }
    assert_eq!(allowed, [20, 10, 10, 10, 10, 20]);
}

#[test]
fn a_skewed_server_refuses_signatures_and_says_its_own_date() {
    let rule = Rule::always(Effect::ClockSkew { seconds: -400 });
    let caller = Caller::with_faults(world([]), [rule]);
    let response = caller.respond("DescribeDisks", &json!({}));
    assert_eq!(code(&api(&response)), "AuthFailure.SignatureExpire");
    assert_eq!(response.header("date"), Some("Tue, 24 Nov 2026 18:23:20 GMT"));
    let late = caller.now() - Duration::from_secs(400);
    assert_eq!(code(&answer(&caller, &caller.signer.sign("DescribeDisks", "{}", late))), "ok");
    assert_eq!(caller.sim.ledger().requests[0].arrival, caller.now(), "the ledger keeps true time");
}
