//! Jobs that select their disks: who joins, who leaves, and what is not believed.

use std::time::Duration;

use backup_core::run::State;
use cbs_backupd::report::Kind;
use cbs_sim::{Choices, Disk, Effect, MissingIds, Rule};

use crate::support::{CREATE, Setup, World, id, ids, tagged};

/// Due at 02:30 in Shanghai.
const NIGHTLY: &str = "targets:\n  default: { region: ap-guangzhou }\n\
    jobs:\n  - name: db\n    select: { tags: { backup: nightly } }\n    schedule: \"30 2 * * *\"\n";
const FIRST: &str = "2026-11-24T18:30:00Z";
const SECOND: &str = "2026-11-25T18:30:00Z";

fn nightly(count: usize) -> Setup<'static> {
    let disks = (0..count).map(|number| tagged(number, "nightly")).collect();
    Setup { config: NIGHTLY, disks, ..Setup::default() }
}

#[tokio::test(start_paused = true)]
async fn tagged_disks_join_and_leave() {
    for missing_ids in [MissingIds::Omit, MissingIds::Error] {
        let mut setup = Setup { choices: Choices { missing_ids, ..Choices::default() }, ..nightly(12) };
        setup.disks.push(Disk::new(&id(100)));
        setup.disks.push(tagged(101, "never"));
        let world = World::new(setup);
        let daemon = world.start().await;
        world.until("2026-11-24T19:00:00Z").await;
        assert_eq!(world.good(FIRST).await, ids(0..12));
        assert_eq!(world.disks_of(Kind::DiskJoined).len(), 12);

        // One gets the tag, one loses it, and one is deleted.
        world.world.sim.put_disk(tagged(100, "nightly"));
        world.world.sim.put_disk(tagged(0, "never"));
        assert!(world.world.sim.remove_disk(&id(1)));
        world.until("2026-11-24T19:12:00Z").await;
        assert_eq!(world.disks_of(Kind::DiskLeft), [] as [String; 0]);
        world.until("2026-11-24T19:32:00Z").await;
        assert_eq!(world.disks_of(Kind::DiskJoined).last(), Some(&id(100)));
        assert_eq!(world.disks_of(Kind::DiskLeft), [id(0), id(1)]);

        world.until("2026-11-25T19:00:00Z").await;
        assert_eq!(world.good(SECOND).await, ids((2..12).chain([100])));
        // The disk that joined began when it did: the first night is not missed.
        assert_eq!(world.rows().await.len(), 12 + 11);
        assert!(world.said(Kind::RunSkipped).is_empty() && world.said(Kind::BackupFailed).is_empty());
        world.stop(daemon).await;
    }
}

/// Between what was listed, what is in the journal of it, and what its job makes of that.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_dies_while_disks_join_leaves_none_of_them_out_and_makes_none_twice() {
    let mut died_before = std::collections::BTreeSet::new();
    for millis in (900..3_000).step_by(75) {
        let world = World::new(nightly(7));
        let daemon = world.start().await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let counts = |store: &mut dyn cbs_backupd::journal::Store| {
            let begun = store.watermarks()?.iter().filter(|mark| mark.next_due.is_some()).count();
            Ok((store.inventory()?.jobs.values().map(|held| held.disks.len()).sum::<usize>(), begun))
        };
        died_before.insert(world.world.journal.read(counts).await.unwrap());
        drop(daemon);
        let daemon = world.start().await;
        world.until("2026-11-24T19:00:00Z").await;
        assert_eq!(world.good(FIRST).await, ids(0..7), "died after {millis} ms");
        assert_eq!(world.world.sim.ledger().backups.len(), 7, "died after {millis} ms");
        world.stop(daemon).await;
    }
    // Before the listing, between that and the beginning of all of them, and after it.
    let seen = [(0, 0), (7, 7)].iter().all(|counts| died_before.contains(counts));
    let between = died_before.iter().any(|(held, begun)| *held == 7 && *begun < 7);
    assert!(seen && between, "{died_before:?}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_leaves_takes_its_waiting_run_along_and_not_what_is_under_way() {
    // The first disk is busy for hours; the second one's backup is made and never NORMAL.
    let busy = Effect::Error { code: "InvalidDisk.Busy".to_owned(), message: "as scripted".to_owned() };
    let on = |number: usize, effect| Rule { disks: vec![id(number)], ..Rule::on(CREATE, effect) };
    let faults = vec![on(0, busy), on(1, Effect::Stuck)];
    let world = World::new(Setup { faults, ..nightly(12) });
    let daemon = world.start().await;
    world.until("2026-11-24T18:45:00Z").await;
    world.world.sim.put_disk(tagged(0, "never"));
    world.world.sim.put_disk(tagged(1, "never"));
    world.until("2026-11-24T19:20:00Z").await;
    let rows = world.rows().await;
    let state =
        |number: usize| &rows.iter().find(|row| row.run.id.disk.as_str() == id(number)).unwrap().run.state;
    assert_eq!(state(0).reason().as_deref(), Some("removed from the configuration"), "{:?}", state(0));
    assert!(matches!(state(1), State::Tracking { .. }), "{:?}", state(1));
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_keeps_the_last_list() {
    let world = World::new(nightly(4));
    let daemon = world.start().await;
    world.until("2026-11-24T19:00:00Z").await;
    let refused =
        Effect::Error { code: "UnauthorizedOperation".to_owned(), message: "as scripted".to_owned() };
    world.world.sim.set_faults(vec![Rule::on("DescribeDisks", refused)]);
    world.world.sim.put_disk(tagged(9, "nightly"));
    world.until("2026-11-25T19:00:00Z").await;
    assert_eq!(world.good(SECOND).await, ids(0..4));
    assert_eq!(world.said(Kind::DiscoverFailed).len(), 1);
    assert!(world.said(Kind::DiskLeft).is_empty());
    // At most once a minute: one that is refused is not asked all day long.
    let asked = world.world.sim.ledger().requests_of("DescribeDisks").count();
    assert!((1_300..=1_600).contains(&asked), "{asked}");

    world.world.sim.set_faults(Vec::new());
    world.until("2026-11-25T19:02:00Z").await;
    assert_eq!(world.said(Kind::DiscoverRecovered).len(), 1);
    assert_eq!(world.disks_of(Kind::DiskJoined).last(), Some(&id(9)));
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_would_lose_three_of_ten_is_refused_until_a_person_says_that_it_is_meant() {
    let world = World::new(nightly(10));
    let daemon = world.start().await;
    world.until("2026-11-24T19:00:00Z").await;
    for number in 0..3 {
        world.world.sim.put_disk(tagged(number, "never"));
    }
    // Others may join meanwhile.
    world.world.sim.put_disk(tagged(20, "nightly"));
    world.until("2026-11-25T19:00:00Z").await;
    assert_eq!(world.good(SECOND).await, ids((0..10).chain([20])));
    let refused = world.said(Kind::DiscoverRefused);
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert!(
        refused[0].message.starts_with("3 of 11 disks would leave at once, and 2 may"),
        "{}",
        refused[0].message
    );
    assert_eq!(refused[0].fields.job.as_deref(), Some("db"));

    world.reload(&daemon, &NIGHTLY.replace("    schedule", "    max_loss: 30\n    schedule")).await;
    world.until("2026-11-25T19:01:00Z").await;
    assert_eq!(world.disks_of(Kind::DiskLeft), [id(0), id(1), id(2)]);
    assert_eq!(world.said(Kind::DiscoverRecovered).len(), 1);
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_missing_from_one_listing_goes_on_as_if_nothing_had_been() {
    let world = World::new(nightly(3));
    let daemon = world.start().await;
    for _ in 0..3 {
        // Out for one listing of each two.
        tokio::time::sleep(Duration::from_secs(900)).await;
        world.world.sim.put_disk(tagged(0, "never"));
        tokio::time::sleep(Duration::from_secs(600)).await;
        world.world.sim.put_disk(tagged(0, "nightly"));
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    let missing =
        |store: &mut dyn cbs_backupd::journal::Store| Ok(store.inventory()?.jobs.into_values().next());
    let held = world.world.journal.read(missing).await.unwrap().unwrap();
    assert!(held.disks.values().all(|member| member.missing == 0), "{held:?}");
    world.until("2026-11-25T19:00:00Z").await;
    assert_eq!(world.good(SECOND).await, ids(0..3));
    assert!(world.said(Kind::DiskLeft).is_empty());
    assert_eq!(world.disks_of(Kind::DiskJoined).len(), 3);
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_selects_others_is_carried_out_at_once() {
    let mut setup = nightly(10);
    setup.disks.extend((20..23).map(|number| tagged(number, "weekly")));
    // A waiting run of a disk that will go: its disk is busy.
    let busy = Effect::Error { code: "InvalidDisk.Busy".to_owned(), message: "as scripted".to_owned() };
    setup.faults = vec![Rule { disks: vec![id(0)], ..Rule::on(CREATE, busy) }];
    let world = World::new(setup);
    let daemon = world.start().await;
    world.until("2026-11-24T18:40:00Z").await;
    let weekly = NIGHTLY
        .replace("backup: nightly", "backup: [weekly, nightly]")
        .replace("    schedule", "    exclude: [disk-00000001, { tags: { backup: nightly } }]\n    schedule");
    world.reload(&daemon, &weekly).await;
    world.until("2026-11-24T18:40:05Z").await;
    assert_eq!(world.disks_of(Kind::DiskLeft), (0..10).map(id).collect::<Vec<_>>());
    assert_eq!(world.disks_of(Kind::DiskJoined)[10..], (20..23).map(id).collect::<Vec<_>>());
    let [skipped] = &world.said(Kind::RunSkipped)[..] else { panic!("{:#?}", world.said(Kind::RunSkipped)) };
    assert_eq!(skipped.fields.disk_id.as_deref(), Some(&*id(0)));
    world.until("2026-11-25T19:00:00Z").await;
    assert_eq!(world.good(SECOND).await, ids(20..23));

    // Named from now on, one of them: it goes on, and is not missed.
    let named = NIGHTLY.replace("select: { tags: { backup: nightly } }", "disks: [disk-00000014]");
    world.reload(&daemon, &named).await;
    world.until("2026-11-26T19:00:00Z").await;
    assert_eq!(world.good("2026-11-26T18:30:00Z").await, ids([20]));
    // And selected again: what is not listed yet is not let go meanwhile.
    world.reload(&daemon, NIGHTLY).await;
    world.until("2026-11-26T19:01:00Z").await;
    assert_eq!(world.disks_of(Kind::DiskJoined).len(), 13 + 10);
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_named_its_disks_keeps_them_until_those_that_it_selects_are_listed() {
    let named =
        NIGHTLY.replace("select: { tags: { backup: nightly } }", "disks: [disk-00000000, disk-00000001]");
    let world = World::new(Setup { config: &named, ..nightly(3) });
    let daemon = world.start().await;
    world.until("2026-11-25T18:29:55Z").await;
    let unavailable = Effect::Error { code: "InternalError".to_owned(), message: "as scripted".to_owned() };
    let listing = Rule { until_ms: Some(600_000), ..Rule::on("DescribeDisks", unavailable) };
    world.world.sim.set_faults(vec![listing]);
    world.reload(&daemon, NIGHTLY).await;
    world.until("2026-11-25T18:39:00Z").await;
    assert_eq!(world.good(SECOND).await, ids(0..2));
    world.until("2026-11-26T19:00:00Z").await;
    assert_eq!(world.good("2026-11-26T18:30:00Z").await, ids(0..3));
    assert_eq!(world.rows().await.len(), 2 + 2 + 3);
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_is_not_known_to_be_whole_before_the_disks_are() {
    let world = World::new(nightly(3));
    let daemon = world.start().await;
    world.until("2026-11-24T19:00:00Z").await;
    daemon.stop().await;
    // Lost while nothing runs, and the next one cannot list disks at first.
    let mut world = world;
    world.world.lose_journal().unwrap();
    let unavailable = Effect::Error { code: "InternalError".to_owned(), message: "as scripted".to_owned() };
    let listing = Rule { until_ms: Some(600_000), ..Rule::on("DescribeDisks", unavailable) };
    world.until("2026-11-25T18:40:00Z").await;
    world.world.sim.set_faults(vec![listing]);
    let daemon = world.start().await;
    world.until("2026-11-25T20:00:00Z").await;
    // What was found in the cloud is known again, and what was due since is made.
    assert_eq!(world.good(FIRST).await, ids(0..3));
    assert_eq!(world.good(SECOND).await, ids(0..3));
    assert_eq!(world.world.sim.ledger().backups.len(), 6);
    world.stop(daemon).await;
}

/// The starts of a night, by disk.
async fn starts(world: &World) -> Vec<(String, i64)> {
    let rows = world.rows().await;
    rows.iter().map(|row| (row.run.id.disk.to_string(), row.run.start_at.as_second())).collect()
}

#[tokio::test(start_paused = true)]
async fn disks_of_one_instance_start_together() {
    let selected = "select: { tags: { backup: nightly } }".to_owned();
    let named = format!("disks: [{}]", (0..6).map(id).collect::<Vec<_>>().join(", "));
    for which in [selected, named] {
        let spread = "schedule: { cron: \"30 2 * * *\", spread: 1h, together: instance }";
        let config = NIGHTLY
            .replace("select: { tags: { backup: nightly } }", &which)
            .replace("schedule: \"30 2 * * *\"", spread);
        let attached = |number: usize| Disk {
            instances: if number < 4 { vec![format!("ins-{}", number / 2)] } else { Vec::new() },
            ..tagged(number, "nightly")
        };
        let setup = Setup { config: &config, disks: (0..6).map(attached).collect(), ..Setup::default() };
        let world = World::new(setup);
        let daemon = world.start().await;
        world.until("2026-11-24T20:00:00Z").await;
        let mut starts = starts(&world).await;
        starts.sort();
        let at: Vec<i64> = starts.into_iter().map(|(_, at)| at).collect();
        assert_eq!((at[0], at[2]), (at[1], at[3]), "{at:?}");
        let mut apart = vec![at[0], at[2], at[4], at[5]];
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 4, "instances, and disks without one, start on their own: {at:?}");
        assert_eq!(world.good(FIRST).await.len(), 6);
        world.stop(daemon).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_full_lane_the_job_of_the_higher_priority_starts_first() {
    let config = "targets:\n  default: { region: ap-guangzhou }\njobs:\n\
        \x20 - name: alpha\n    select: { tags: { backup: low } }\n    schedule: \"0 3 * * *\"\n\
        \x20 - name: beta\n    select: { tags: { backup: high } }\n    schedule: \"0 3 * * *\"\n    priority: 60\n";
    let low = (0..1_200).map(|number| tagged(number, "low"));
    let high = (1_200..1_500).map(|number| tagged(number, "high"));
    let first = Rule {
        disks: vec![id(0)],
        ..Rule::on(
            CREATE,
            Effect::Error { code: "InvalidDisk.Busy".to_owned(), message: "as scripted".to_owned() },
        )
        .which(cbs_sim::Which::Nth(1))
    };
    let setup = Setup { config, disks: low.chain(high).collect(), faults: vec![first], ..Setup::default() };
    let world = World::new(setup);
    let daemon = world.start().await;
    world.until_started().await;
    world.until_idle(Duration::from_secs(3_600)).await;
    let ledger = world.world.sim.ledger();
    let creates: Vec<bool> = ledger
        .requests_of(CREATE)
        .map(|request| request.disk_id.as_deref().is_some_and(|disk| *disk >= *id(1_200)))
        .collect();
    assert_eq!(creates.len(), 1_501);
    let out_of_turn = creates[..300].iter().filter(|is_high| !**is_high).count();
    assert_eq!(out_of_turn, 0, "of the first 300 creates, so many were of the lower priority");
    world.stop(daemon).await;
}

/// A create of the lower priority was lost: it is made again in the midst of those that are new.
#[tokio::test(start_paused = true)]
async fn what_was_begun_is_not_starved_by_a_higher_priority() {
    let config = "targets:\n  default: { region: ap-guangzhou }\njobs:\n\
        \x20 - name: alpha\n    select: { tags: { backup: low } }\n    schedule: \"59 2 * * *\"\n    priority: 0\n\
        \x20 - name: beta\n    select: { tags: { backup: high } }\n    schedule: \"0 3 * * *\"\n    priority: 100\n";
    let high = (1..1_200).map(|number| tagged(number, "high"));
    let lost = Rule { disks: vec![id(0)], ..Rule::on(CREATE, Effect::Timeout { executed: false }) };
    let faults = vec![lost.which(cbs_sim::Which::First(2))];
    let setup = Setup {
        config,
        disks: [tagged(0, "low")].into_iter().chain(high).collect(),
        faults,
        ..Setup::default()
    };
    let world = World::new(setup);
    let daemon = world.start().await;
    world.until_started().await;
    world.until_idle(Duration::from_secs(3_600)).await;
    let ledger = world.world.sim.ledger();
    let creates: Vec<&str> =
        ledger.requests_of(CREATE).filter_map(|request| request.disk_id.as_deref()).collect();
    assert_eq!(creates.len(), 3 + 1_199);
    let third = creates.iter().rposition(|disk| *disk == id(0)).unwrap();
    // Lost for 15 s, in doubt for 30 s, and again: between 30 s and 45 s after the others began, at 20 a second.
    assert!((550..1_000).contains(&third), "after {third} others");
    world.stop(daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_renamed_goes_on_where_it_was() {
    let renamed = |was: &str| NIGHTLY.replace("name: db", &format!("name: base\n{was}"));
    for (was, accounted) in [("    was: db", true), ("    priority: 50", false)] {
        let world = World::new(nightly(2));
        let daemon = world.start().await;
        world.until("2026-11-24T19:00:00Z").await;
        daemon.stop().await;
        // Renamed while nothing runs, over a due instant.
        world.world.set_config(crate::support::config(&renamed(was)));
        world.until("2026-11-25T19:00:00Z").await;
        let daemon = world.start().await;
        world.until("2026-11-25T19:30:00Z").await;
        let second = world.good(SECOND).await;
        assert_eq!(second, if accounted { ids(0..2) } else { ids([]) });
        let jobs: Vec<String> = world.rows().await.iter().map(|row| row.run.id.job.to_string()).collect();
        assert_eq!(jobs.iter().filter(|job| *job == "base").count(), second.len());
        world.stop(daemon).await;
    }
}
