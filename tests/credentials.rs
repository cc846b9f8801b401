//! Half a day of the whole daemon on credentials that live for half an hour, under a paused clock: no backup may fail
//! or be late for want of one, and each is asked for once, whoever wants it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cbs_backupd::app::Idle;
use cbs_backupd::config::Config;
use cbs_backupd::journal::Row;
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{self, Beginning, Living, Network, Tamper};
use cbs_sim::{Disk, Effect, Ledger, Machine, Role, Rule, Timings, WebIdentity, Which};
use jiff::{SignedDuration, Timestamp};

const START: &str = "2026-11-24T00:00:05Z";
const ARN: &str = "qcs::cam::uin/100:roleName/backup";
const LIFE: u64 = 1_800;
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// What the cluster gives to its pod.
const POD_TOKEN: &str = "token-of-the-pod";

/// The sources that have credentials issued, each with the action that does it.
const CVM: (&str, &str) = ("{ source: cvm-role }", "Metadata");
const ASSUMED: (&str, &str) = (
    "{ source: assume-role, role_arn: 'qcs::cam::uin/100:roleName/backup', external_id: of-ours, duration: 30m }",
    "AssumeRole",
);
/// One temporary credential asks for another.
const BY_MACHINE: (&str, &str) = (
    "{ source: assume-role, role_arn: 'qcs::cam::uin/100:roleName/backup', external_id: of-ours, duration: 30m, \
     from: { source: cvm-role } }",
    "AssumeRole",
);
const POD: (&str, &str) = ("{ source: tke-oidc, duration: 30m }", "AssumeRoleWithWebIdentity");

/// Two targets that share a source: five disks each twenty minutes, three each hour, at the same instant.
struct Day {
    world: simulate::World,
    action: &'static str,
    _folder: tempfile::TempDir,
}

impl Day {
    fn new((source, action): (&'static str, &'static str), rotate_s: u64) -> Self {
        let disks = |region: &str, from: usize, count: usize| -> Vec<Disk> {
            (from..from + count)
                .map(|number| Disk {
                    region: region.to_owned(),
                    quota: 100,
                    ..Disk::new(&format!("disk-{number:08}"))
                })
                .collect()
        };
        let (south, east) = (disks("ap-guangzhou", 0, 5), disks("ap-shanghai", 5, 3));
        let ids = |disks: &[Disk]| disks.iter().map(|disk| disk.id.clone()).collect::<Vec<_>>().join(", ");
        let text = format!(
            "owner: ops1\nsettle: 30s\ntargets:\n\
             \x20 south: {{ region: ap-guangzhou, credentials: {source} }}\n\
             \x20 east: {{ region: ap-shanghai, credentials: {source} }}\n\
             jobs:\n\
             \x20 - {{ name: often, target: south, disks: [{}], schedule: '*/20 * * * *' }}\n\
             \x20 - {{ name: hourly, target: east, disks: [{}], schedule: '0 * * * *' }}\n",
            ids(&south),
            ids(&east),
        );
        let web_identity = WebIdentity { provider_id: "cls-1".to_owned(), token: POD_TOKEN.to_owned() };
        let cloud = cbs_sim::World {
            seed: 1,
            credentials: vec![simulate::key(0)],
            timings: Timings {
                create_ms: (20_000, 40_000),
                visible_ms: (0, 1_500),
                reply_ms: (5, 60),
                ..Timings::default()
            },
            disks: [south, east].concat(),
            roles: vec![Role {
                arn: ARN.to_owned(),
                external_id: Some("of-ours".to_owned()),
                web_identity: Some(web_identity),
                identity: None,
            }],
            machine: Machine { role: Some("backup".to_owned()), life_s: LIFE, rotate_s },
            ..cbs_sim::World::default()
        };
        let world = simulate::World::new(Beginning {
            start: START.parse().unwrap(),
            config: Config::parse("day.yaml", &text, &BTreeMap::new()).unwrap(),
            cloud,
            network: Network::default(),
            seed: 1,
            idle: Idle::default(),
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, format!("{POD_TOKEN}\n")).unwrap();
        for (name, value) in [
            ("TKE_REGION", "ap-guangzhou"),
            ("TKE_PROVIDER_ID", "cls-1"),
            ("TKE_ROLE_ARN", ARN),
            ("TKE_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ] {
            world.set_variable(name, value);
        }
        Self { world, action, _folder: folder }
    }

    async fn start(&self) -> Living {
        self.world.start(&Arc::default()).await.unwrap()
    }

    /// Stops the daemon, and gives the account of the day. Whatever happened, nothing shows a secret: all that were
    /// issued begin alike.
    async fn account(&self, daemon: Living) -> Account {
        daemon.stop().await;
        let (events, rows) = (self.world.log.events(), self.world.rows(None).await.unwrap());
        let said = format!("{events:?} {rows:?}");
        for secret in ["key-", "token-"] {
            assert!(!said.contains(secret), "a secret was shown");
        }
        assert_eq!(self.world.witness.objections(), Vec::<String>::new());
        Account { ledger: self.world.sim.ledger(), events, rows, action: self.action }
    }
}

struct Account {
    ledger: Ledger,
    events: Vec<Event>,
    rows: Vec<Row>,
    action: &'static str,
}

impl Account {
    fn said(&self, kind: Kind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }

    /// How often a credential was asked for, and how often that failed.
    fn asked(&self) -> (usize, usize) {
        // Of the questions to the metadata service, those with a name are for a credential.
        let asked = self.ledger.requests_of(self.action);
        let asked: Vec<_> = asked.filter(|ask| self.action != CVM.1 || ask.name.is_some()).collect();
        (asked.len(), asked.iter().filter(|ask| !ask.executed || ask.fault.is_some()).count())
    }

    /// Each due instant had its backups, which are good.
    #[track_caller]
    fn assert_all_made(&self, hours: usize) {
        assert_eq!(self.rows.len(), hours * (3 * 5 + 3));
        assert!(self.rows.iter().all(|row| row.run.state.name() == "completed"));
        assert_eq!(self.ledger.backups.len(), self.rows.len());
        assert!(self.said(Kind::DaemonFault).is_empty(), "{:#?}", self.said(Kind::DaemonFault));
    }

    /// Each at its first attempt: no call ever lacked a good credential.
    #[track_caller]
    fn assert_never_lacked(&self) {
        assert!(self.rows.iter().all(|row| row.run.attempts == 1));
        let troubles =
            [Kind::BackupRetry, Kind::BackupAmbiguous, Kind::CloudUnreachable, Kind::ReconcileFailed];
        for kind in troubles {
            assert!(self.said(kind).is_empty(), "{:#?}", self.said(kind));
        }
        // Three failures in a row are said, and that the old one still serves.
        for event in self.said(Kind::CredentialsFailed) {
            assert!(event.message.contains("the one at hand is good until"), "{}", event.message);
        }
        let refused =
            self.ledger.requests.iter().filter(|request| {
                request.code.as_deref().is_some_and(|code| code.starts_with("AuthFailure"))
            });
        assert_eq!(refused.count(), 0);
    }
}

/// An error of the issuer's, whose words quote what was sent.
fn error(action: &str, code: &str) -> Effect {
    let quoted = if action == POD.1 { POD_TOKEN } else { "this" };
    Effect::Error { code: code.to_owned(), message: format!("not with {quoted}") }
}

/// Twelve hours in which every fifth question and each after it fails, in all ways there are.
async fn half_a_day(source: (&'static str, &'static str), renewals: std::ops::RangeInclusive<usize>) {
    let day = Day::new(source, 600);
    let fails = |every, effect| Rule::on(source.1, effect).which(Which::Every(every));
    day.world.sim.set_faults(vec![
        fails(5, error(source.1, "InternalError.SystemError")),
        fails(7, Effect::Http { status: 502, body: "<html>".to_owned(), executed: false }),
        fails(11, Effect::Timeout { executed: false }),
        fails(13, Effect::Drop { executed: true }),
        fails(17, Effect::TruncatedJson { executed: true }),
        fails(19, Effect::NoResult),
    ]);
    let daemon = day.start().await;
    tokio::time::sleep(12 * HOUR + 5 * MINUTE).await;
    let day = day.account(daemon).await;
    day.assert_all_made(12);
    day.assert_never_lacked();

    let (asked, failed) = day.asked();
    let good = asked - failed;
    println!(
        "{}: {good} credentials for {} calls; {failed} attempts failed",
        source.1,
        day.ledger.requests.len()
    );
    assert!(renewals.contains(&good), "{good} renewals, expected {renewals:?}");
    assert!(failed >= 8, "{failed} failures: too tame to show anything");
    let told = day.said(Kind::CredentialsRefreshed);
    assert_eq!(told.len(), good);
    assert!(told.iter().all(|event| event.message.contains(": a new credential; next renewal 2026-11-24T")));
    let refusals = day.ledger.requests.iter().filter(|request| request.code.is_some());
    assert!(refusals.count() <= failed);
}

/// With 15 to 12 minutes left.
#[tokio::test(start_paused = true)]
async fn half_a_day_on_an_assumed_role() {
    half_a_day(ASSUMED, 40..=49).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_day_on_a_role_that_a_machines_role_assumes() {
    half_a_day(BY_MACHINE, 40..=49).await;
}

/// With 5 to 4 minutes left.
#[tokio::test(start_paused = true)]
async fn half_a_day_on_the_role_of_a_machine() {
    half_a_day(CVM, 27..=30).await;
}

#[tokio::test(start_paused = true)]
async fn half_a_day_on_the_role_of_a_workload() {
    half_a_day(POD, 27..=30).await;
}

/// A metadata service that keeps showing the old credential until it is almost over.
#[tokio::test(start_paused = true)]
async fn half_a_day_on_a_machine_that_renews_late() {
    let day = Day::new(CVM, 90);
    let daemon = day.start().await;
    tokio::time::sleep(12 * HOUR + 5 * MINUTE).await;
    let day = day.account(daemon).await;
    day.assert_all_made(12);
    day.assert_never_lacked();
    let (asked, _) = day.asked();
    let told = day.said(Kind::CredentialsRefreshed).len();
    // Anew each 29 minutes or so, and shown up to three times before.
    assert!((25..=27).contains(&told), "{told} renewals");
    assert!((told..=4 * told).contains(&asked), "{asked} questions");
}

/// No call lacks a credential while the issuer is away for less than what is left of it.
#[tokio::test(start_paused = true)]
async fn an_issuer_may_be_away_for_minutes() {
    let day = Day::new(ASSUMED, 600);
    let away = Rule {
        from_ms: 14 * 60_000,
        until_ms: Some(26 * 60_000),
        ..Rule::on(ASSUMED.1, error(ASSUMED.1, "Down"))
    };
    day.world.sim.set_faults(vec![away]);
    let daemon = day.start().await;
    tokio::time::sleep(HOUR + 5 * MINUTE).await;
    let day = day.account(daemon).await;
    day.assert_all_made(1);
    assert!(day.rows.iter().all(|row| row.run.attempts == 1));
    let [failed] = day.said(Kind::CredentialsFailed)[..] else { panic!("{:#?}", day.events) };
    assert!(
        failed.message.contains("no new credential, the one at hand is good until 2026-11-24T00:30:05Z: ")
    );
    assert!(failed.message.contains("sts.tencentcloudapi.com: Down: not with"), "{}", failed.message);
    let (_, failures) = day.asked();
    // 30 s apart at most, not at each of the calls.
    assert!((20..=60).contains(&failures), "{failures} attempts in 12 minutes");
}

/// Beyond that the daemon says so once, and goes on where it was as soon as the issuer is back.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_for_an_hour_delays_and_loses_nothing() {
    let day = Day::new(CVM, 600);
    let away = Rule {
        from_ms: 20 * 60_000,
        until_ms: Some(90 * 60_000),
        ..Rule::on(CVM.1, Effect::Timeout { executed: false })
    };
    day.world.sim.set_faults(vec![away]);
    let daemon = day.start().await;
    tokio::time::sleep(2 * HOUR + 50 * MINUTE).await;
    let day = day.account(daemon).await;
    assert!(day.rows.iter().all(|row| matches!(row.run.state.name(), "completed" | "skipped")));
    assert!(day.rows.iter().filter(|row| row.run.state.name() == "completed").count() > 30);
    let last_good = day.said(Kind::BackupCompleted).last().unwrap().fields.due.clone();
    assert_eq!(last_good.as_deref(), Some("2026-11-24T02:40:00Z"));
    assert_eq!(day.said(Kind::CredentialsFailed).len(), 1, "{:#?}", day.said(Kind::CredentialsFailed));
    let place = |wanted: Kind| day.events.iter().rposition(|event| event.kind == wanted).unwrap();
    assert!(place(Kind::CredentialsRefreshed) > place(Kind::CredentialsFailed), "its end was not said");
    let failed = &day.said(Kind::CredentialsFailed)[0].message;
    assert!(failed.contains("metadata.tencentyun.com: no answer within 2 s"), "{failed}");
}

/// The cloud takes back what it issued, in the middle of its life: one more is asked for, and no call fails.
#[tokio::test(start_paused = true)]
async fn what_the_cloud_no_longer_takes_is_renewed_once() {
    let day = Day::new(ASSUMED, 600);
    let daemon = day.start().await;
    // A second before both jobs are due at once: eight creates leave with what is no longer good.
    let start: Timestamp = START.parse().unwrap();
    let due: Timestamp = "2026-11-24T01:00:00Z".parse().unwrap();
    let until = Duration::try_from(due.duration_since(start)).unwrap();
    tokio::time::sleep(until - Duration::from_secs(1)).await;
    let before = day.world.sim.ledger().requests_of(ASSUMED.1).count();
    day.world.sim.end_issued();
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(day.world.sim.ledger().requests_of(ASSUMED.1).count(), before + 1);
    let day = day.account(daemon).await;
    assert!(day.rows.iter().all(|row| row.run.state.name() == "completed" && row.run.attempts == 1));
    assert_eq!(day.rows.len(), 3 * 5 + 3);
    assert!(day.said(Kind::CredentialsFailed).is_empty(), "{:#?}", day.said(Kind::CredentialsFailed));
    let refused = day.ledger.requests.iter();
    let refused =
        refused.filter(|request| request.code.as_deref() == Some("AuthFailure.TokenFailure")).count();
    assert!((1..=8).contains(&refused), "{refused} calls were refused");
}

/// A credential that is asked for by a wrong clock tells what is wrong: the clock.
#[tokio::test(start_paused = true)]
async fn a_machine_whose_clock_is_wrong_is_told_so_by_the_cloud() {
    let day = Day::new(ASSUMED, 600);
    day.world.clock.step(SignedDuration::from_hours(-2));
    let daemon = day.start().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(day.world.log.events().iter().filter(|event| event.kind == Kind::ClockWrong).count(), 1);
    day.world.clock.step(SignedDuration::from_hours(2));
    tokio::time::sleep(HOUR).await;
    let day = day.account(daemon).await;
    assert_eq!(day.said(Kind::ClockRight).len(), 1);
    assert!(day.said(Kind::CloudUnreachable).is_empty());
    assert!(day.said(Kind::BackupCompleted).len() >= 3 * 5);
}
