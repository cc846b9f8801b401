//! Temporary credentials: who gets them, and until when they are good.

use std::time::Duration;

use cbs_sim::{Disk, Effect, Machine, Outcome, Request, Role, Rule, WebIdentity, Which, World};
use serde_json::{Value, json};

use crate::support::{Caller, Signer, api, code, world};

const ARN: &str = "qcs::cam::uin/100:roleName/backup";
const ROOT: &str = "/latest/meta-data/cam/security-credentials/";

fn roles() -> Caller {
    let web_identity = WebIdentity { provider_id: "cls-1".to_owned(), token: "of-the-pod".to_owned() };
    let role = Role {
        arn: ARN.to_owned(),
        external_id: Some("of-ours".to_owned()),
        web_identity: Some(web_identity),
        identity: None,
    };
    let machine = Machine { role: Some("backup".to_owned()), life_s: 1_800, rotate_s: 600 };
    let mut caller = Caller::new(World { roles: vec![role], machine, ..world([Disk::new("disk-1")]) });
    caller.signer.service = "sts".to_owned();
    caller
}

fn assume(caller: &Caller, change: impl FnOnce(&mut Value)) -> Value {
    let mut body =
        json!({"RoleArn": ARN, "RoleSessionName": "test", "DurationSeconds": 900, "ExternalId": "of-ours"});
    change(&mut body);
    caller.call("AssumeRole", &body)
}

/// A signer with the credential of an answer, of the service or of the metadata.
fn signer_of(credentials: &Value) -> Signer {
    let text = |key: &str| credentials[key].as_str().unwrap().to_owned();
    Signer {
        id: text("TmpSecretId"),
        key: text("TmpSecretKey"),
        token: Some(text("Token")),
        ..Signer::default()
    }
}

/// The code that listing the disks is answered with.
fn listing(caller: &Caller, signer: &Signer) -> String {
    match caller.sim.handle(&signer.sign("DescribeDisks", "{}", caller.now())).outcome {
        Outcome::Respond(response) => code(&api(&response)),
        other => panic!("{other:?}"),
    }
}

fn get(caller: &Caller, path: &str) -> (u16, String) {
    let request = Request { method: "GET".to_owned(), path: path.to_owned(), ..Request::post(&[], "") };
    match caller.sim.handle(&request).outcome {
        Outcome::Respond(response) => (response.status, String::from_utf8(response.body.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_is_given_to_who_names_its_external_id_and_ends_when_it_says() {
    let caller = roles();
    let answer = assume(&caller, |_| {});
    assert_eq!(answer["ExpiredTime"], caller.now().as_second() + 900);
    assert_eq!(answer["Expiration"], "2026-11-24T18:45:00Z");
    let signer = signer_of(&answer["Credentials"]);
    assert_eq!(listing(&caller, &signer), "ok");
    assert_eq!(listing(&caller, &Signer { token: None, ..signer.clone() }), "AuthFailure.TokenFailure");
    let other = signer_of(&assume(&caller, |_| {})["Credentials"]);
    let mixed = Signer { token: other.token, ..signer.clone() };
    assert_eq!(listing(&caller, &mixed), "AuthFailure.TokenFailure");
    assert_eq!(caller.sim.ledger().requests[1].identity.as_deref(), Some(ARN));

    caller.pass(Duration::from_secs(899));
    assert_eq!(listing(&caller, &signer), "ok");
    caller.pass(Duration::from_secs(1));
    assert_eq!(listing(&caller, &signer), "AuthFailure.TokenFailure");
    // Forgotten, once another is issued.
    caller.pass(Duration::from_secs(3_600));
    assume(&caller, |_| {});
    assert_eq!(listing(&caller, &signer), "AuthFailure.SecretIdNotFound");
}

#[test]
fn a_role_is_refused_by_its_code() {
    let caller = roles();
    for (change, expected) in [
        (json!({"RoleArn": "qcs::cam::uin/100:roleName/x"}), "ResourceNotFound.RoleNotFound"),
        (json!({"ExternalId": "of-theirs"}), "UnauthorizedOperation"),
        (json!({"ExternalId": null}), "UnauthorizedOperation"),
        (json!({"DurationSeconds": 43_201}), "InvalidParameter.ParamError"),
        (json!({"RoleSessionName": "a b"}), "InvalidParameter.ParamError"),
        (json!({"RoleSessionName": null}), "MissingParameter"),
    ] {
        let answer = assume(&caller, |body| {
            let change = change.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(change);
        });
        assert_eq!(code(&answer), expected, "{change}");
    }
    let wrong_key = Signer { key: "x".to_owned(), service: "sts".to_owned(), ..Signer::default() };
    let signed = wrong_key.sign("AssumeRole", "{}", caller.now());
    let Outcome::Respond(response) = caller.sim.handle(&signed).outcome else { panic!() };
    assert_eq!(code(&api(&response)), "AuthFailure.SignatureFailure");
    // A scope for the other service is none for this one.
    let other = Signer::default().sign("AssumeRole", "{}", caller.now());
    let Outcome::Respond(response) = caller.sim.handle(&other).outcome else { panic!() };
    assert_eq!(code(&api(&response)), "AuthFailure.InvalidAuthorization");
}

#[test]
fn a_workload_proves_itself_by_its_token_and_signs_nothing() {
    let caller = roles();
    let ask = |action: &str, token: &str| {
        let body = json!({"ProviderId": "cls-1", "WebIdentityToken": token, "RoleArn": ARN, "RoleSessionName": "pod"});
        let mut request = caller.signer.sign(action, &body.to_string(), caller.now());
        request.headers.retain(|(name, _)| name != "Authorization");
        request.headers.push(("Authorization".to_owned(), "SKIP".to_owned()));
        let Outcome::Respond(response) = caller.sim.handle(&request).outcome else { panic!() };
        api(&response)
    };
    let answer = ask("AssumeRoleWithWebIdentity", "of-the-pod");
    assert_eq!(answer["ExpiredTime"], caller.now().as_second() + 7_200);
    assert_eq!(listing(&caller, &signer_of(&answer["Credentials"])), "ok");
    let refused = ask("AssumeRoleWithWebIdentity", "of-yesterday");
    assert_eq!(code(&refused), "InvalidParameter.WebIdentityTokenError");
    assert_eq!(code(&ask("AssumeRole", "of-the-pod")), "AuthFailure.InvalidAuthorization");
}

#[test]
fn the_metadata_service_shows_a_credential_until_it_is_almost_over() {
    let caller = roles();
    assert_eq!(get(&caller, ROOT), (200, "backup".to_owned()));
    let path = format!("{ROOT}backup");
    let shown = |caller: &Caller| serde_json::from_str::<Value>(&get(caller, &path).1).unwrap();
    let first = shown(&caller);
    assert_eq!((&first["Code"], &first["Expiration"]), (&"Success".into(), &"2026-11-24T19:00:00Z".into()));
    assert_eq!(listing(&caller, &signer_of(&first)), "ok");
    caller.pass(Duration::from_secs(1_199));
    assert_eq!(shown(&caller), first);
    caller.pass(Duration::from_secs(1));
    let second = shown(&caller);
    assert_ne!(second["TmpSecretId"], first["TmpSecretId"]);
    assert_eq!(listing(&caller, &signer_of(&first)), "ok", "the old one is good until its end");
    caller.sim.end_issued();
    assert_eq!(listing(&caller, &signer_of(&second)), "AuthFailure.TokenFailure");
    assert_eq!(listing(&caller, &signer_of(&shown(&caller))), "ok");

    assert_eq!(get(&caller, &format!("{ROOT}other")).0, 404);
    caller.sim.set_machine(Machine::default());
    assert_eq!(get(&caller, ROOT).0, 404);
    let asked: Vec<_> = caller.sim.ledger().requests;
    let of_metadata = asked.iter().filter(|request| request.action == "Metadata");
    assert_eq!(of_metadata.filter(|request| request.executed).count(), 5);
}

#[test]
fn what_goes_wrong_with_the_api_goes_wrong_here() {
    let caller = roles();
    let error = |code: &str| Effect::Error { code: code.to_owned(), message: String::new() };
    let nth = |number, effect| Rule::on("Metadata", effect).which(Which::Nth(number));
    caller.sim.set_faults(vec![
        nth(1, Effect::Timeout { executed: false }),
        nth(2, Effect::Http { status: 502, body: "<html>".to_owned(), executed: false }),
        nth(3, error("InternalError")),
        Rule::on("AssumeRole", error("InternalError.SystemError")).which(Which::Nth(1)),
    ]);
    let request = Request { method: "GET".to_owned(), path: ROOT.to_owned(), ..Request::post(&[], "") };
    assert_eq!(caller.sim.handle(&request).outcome, Outcome::NeverReply);
    assert_eq!(get(&caller, ROOT), (502, "<html>".to_owned()));
    assert_eq!(get(&caller, ROOT), (200, r#"{"Code":"InternalError"}"#.to_owned()));
    assert_eq!(get(&caller, ROOT).1, "backup");
    assert_eq!(code(&assume(&caller, |_| {})), "InternalError.SystemError");
    assert_eq!(code(&assume(&caller, |_| {})), "ok");
    let executed: Vec<_> = caller.sim.ledger().requests.iter().map(|request| request.executed).collect();
    assert_eq!(executed, [false, false, false, true, false, true]);
}
