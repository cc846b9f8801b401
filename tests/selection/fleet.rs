//! Fleets of several accounts and regions: each lane at its own pace, and none held up by another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cbs_backupd::report::Kind;
use cbs_backupd::simulate::Network;
use cbs_sim::{Disk, Ledger};
use jiff::Timestamp;

use crate::support::{CREATE, Setup, World, id, key, tagged};

const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
const REGIONS: [&str; 4] = ["ap-guangzhou", "ap-shanghai", "ap-beijing", "ap-singapore"];

fn host(region: &str) -> String {
    format!("cbs.{region}.tencentcloudapi.com")
}

/// When each disk was asked for, and when its run ended.
type Times = BTreeMap<String, (Timestamp, Timestamp)>;

/// A night of `disks` disks, evenly over three accounts and four regions, all due at 02:30; of those whose host is
/// not out of reach.
async fn night(disks: usize, network: Network) -> (Times, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let keys = ACCOUNTS.map(|account| {
        let key = key(account);
        format!("[{account}]\nsecret_id = {}\nsecret_key = {}\n", key.secret_id, key.secret_key)
    });
    std::fs::write(&file, keys.concat()).unwrap();
    let lanes: Vec<(&str, &str)> =
        ACCOUNTS.iter().flat_map(|account| REGIONS.iter().map(move |region| (*account, *region))).collect();
    let (mut targets, mut jobs) = ("targets:\n".to_owned(), "jobs:\n".to_owned());
    for (account, region) in &lanes {
        let name = format!("{account}-{region}");
        writeln!(
            targets,
            "  {name}: {{ region: {region}, credentials: {{ source: file, path: {}, profile: {account} }} }}",
            file.display()
        )
        .unwrap();
        writeln!(
            jobs,
            "  - {{ name: {name}, target: {name}, select: {{ tags: {{ backup: nightly }} }}, schedule: \"30 3 * * *\" }}"
        )
        .unwrap();
    }
    let disk = |number: usize| {
        let (account, region) = lanes[number % lanes.len()];
        Disk { account: Some(account.to_owned()), region: region.to_owned(), ..tagged(number, "nightly") }
    };
    let out: BTreeSet<String> = network.refusing.union(&network.silent).cloned().collect();
    let is_out = |number: usize| out.contains(&host(lanes[number % lanes.len()].1));
    let world = World::new(Setup {
        config: &format!("{targets}{jobs}"),
        disks: (0..disks).map(disk).collect(),
        accounts: &ACCOUNTS,
        network,
        ..Setup::default()
    });
    let daemon = world.start().await;
    world.until("2026-11-24T19:30:01Z").await;
    let reached: BTreeSet<String> = (0..disks).filter(|number| !is_out(*number)).map(id).collect();
    // Until all are done that can be.
    let give_up = Duration::from_secs(3_600);
    let mut waited = Duration::ZERO;
    while world.good("2026-11-24T19:30:00Z").await.len() < reached.len() {
        tokio::time::sleep(Duration::from_secs(10)).await;
        waited += Duration::from_secs(10);
        assert!(waited < give_up, "not done after an hour");
    }
    let rows = world.rows().await;
    let ledger = world.world.sim.ledger();
    let asked: BTreeMap<&str, Timestamp> = ledger
        .requests_of(CREATE)
        .filter_map(|request| Some((request.disk_id.as_deref()?, request.arrival)))
        .collect();
    let times = rows.iter().filter_map(|row| {
        let disk = row.run.id.disk.to_string();
        Some((disk.clone(), (*asked.get(&*disk)?, row.ended_at?)))
    });
    let times: Times = times.collect();
    assert_eq!(times.keys().cloned().collect::<BTreeSet<_>>(), reached);
    assert!(world.said(Kind::LaneThrottled).is_empty());
    // Others answered: the clock was never in doubt for want of an answer.
    assert_eq!(world.said(Kind::CloudUnreachable), []);
    // Once, for each target that is out of reach, and for no other.
    let failed: BTreeSet<_> =
        world.said(Kind::DiscoverFailed).iter().map(|e| e.fields.target.clone()).collect();
    assert_eq!(failed.len(), out.len() * ACCOUNTS.len());
    world.stop(daemon).await;
    (times, ledger)
}

/// The most creates that arrived of any lane in any second, and how many lanes there were.
fn peak(ledger: &Ledger) -> (usize, usize) {
    let lanes: BTreeSet<(&Option<String>, &str)> =
        ledger.requests_of(CREATE).map(|request| (&request.identity, &*request.host)).collect();
    let peak = |(identity, host): &(&Option<String>, &str)| {
        ledger.peak_arrivals_of(|request| {
            request.action == CREATE && request.identity == **identity && request.host == *host
        })
    };
    (lanes.iter().map(peak).max().unwrap_or_default(), lanes.len())
}

/// Regions that refuse connections, and such that let every call time out, delay nobody else by a millisecond.
async fn nobody_waits_for_a_dead_region(disks: usize) {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes")]
    let began = Instant::now();
    let (times, ledger) = night(disks, Network::default()).await;
    let (most, lanes) = peak(&ledger);
    assert_eq!((most, lanes), (20.min(disks / 12), 12));
    assert!(ledger.requests.iter().all(|request| request.code.is_none()));
    let last = |times: &Times| times.values().map(|(asked, _)| *asked).max().unwrap();
    println!("{disks} disks: peak {most}/s in each of {lanes} lanes, the last create at {}", last(&times));

    let dead = || BTreeSet::from([host("ap-shanghai")]);
    for network in
        [Network { refusing: dead(), ..Network::default() }, Network { silent: dead(), ..Network::default() }]
    {
        let (others, ledger) = night(disks, network).await;
        assert_eq!(others.len(), times.len() - disks / 4);
        assert_eq!(peak(&ledger), (most, 9));
        for (disk, at) in &others {
            assert_eq!(*at, times[disk], "{disk}");
        }
        println!("with a dead region: the last create at {}", last(&others));
    }
    println!("took {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_lane_keeps_its_own_pace_and_a_dead_region_delays_nobody() {
    nobody_waits_for_a_dead_region(600).await;
}

/// `cargo test --release --test selection -- --ignored --nocapture`
#[tokio::test(start_paused = true)]
#[ignore = "minutes without optimisation"]
async fn ten_thousand_disks_in_twelve_lanes() {
    nobody_waits_for_a_dead_region(9_996).await;
}

/// Two targets that call one host as one caller draw on one bucket of the cloud, at the lower of their rates.
#[tokio::test(start_paused = true)]
async fn targets_that_share_a_bucket_share_its_pace() {
    let config = "targets:\n  one: { region: ap-guangzhou, endpoint: \"https://cbs.tencentcloudapi.com\" }\n\
        \x20 two: { region: ap-shanghai, endpoint: \"https://cbs.tencentcloudapi.com\", rate_limit: 10 }\n\
        \x20 three: { region: ap-beijing }\njobs:\n\
        \x20 - { name: one, target: one, select: { name: \"*\" }, schedule: \"0 3 * * *\" }\n\
        \x20 - { name: two, target: two, select: { name: \"*\" }, schedule: \"0 3 * * *\" }\n\
        \x20 - { name: three, target: three, select: { name: \"*\" }, schedule: \"0 3 * * *\" }\n";
    let regions = ["ap-guangzhou", "ap-shanghai", "ap-beijing"];
    let disk = |number: usize| Disk { region: regions[number % 3].to_owned(), ..Disk::new(&id(number)) };
    let world = World::new(Setup { config, disks: (0..300).map(disk).collect(), ..Setup::default() });
    let daemon = world.start().await;
    world.until("2026-11-24T19:30:00Z").await;
    assert_eq!(world.good("2026-11-24T19:00:00Z").await.len(), 300);
    let ledger = world.world.sim.ledger();
    let of = |host: &str| ledger.peak_arrivals_of(|request| request.action == CREATE && request.host == host);
    assert_eq!(of("cbs.tencentcloudapi.com"), 10);
    assert_eq!(of("cbs.ap-beijing.tencentcloudapi.com"), 20);
    world.stop(daemon).await;
}
