//! Jobs of more disks than the journal is brought into line for at once.

use std::collections::BTreeSet;
use std::time::Duration;

use cbs_backupd::journal::Watermark;
use cbs_sim::Disk;

use crate::support::{Setup, World, id};

/// Jobs: the hour at which they are due on the 29th of February, and their disks.
type Jobs<'a> = [(&'a str, u32, &'a [usize])];

fn text(jobs: &Jobs<'_>) -> String {
    let job = |(name, hour, disks): &(&str, u32, &[usize])| {
        let disks: Vec<String> = disks.iter().map(|number| id(*number)).collect();
        let disks = disks.join(", ");
        format!("  - name: {name}\n    disks: [{disks}]\n    schedule: \"0 {hour} 29 2 *\"\n")
    };
    let jobs: String = jobs.iter().map(job).collect();
    format!("targets:\n  default: {{ region: ap-guangzhou }}\njobs:\n{jobs}")
}

async fn marks(world: &World) -> Vec<Watermark> {
    world.world.journal.read(|store| store.watermarks()).await.unwrap()
}

/// Whether these are the watermarks of these jobs and disks, each of its schedule.
fn are_of(marks: &[Watermark], jobs: &Jobs<'_>) -> bool {
    let known = marks.iter().map(|mark| (mark.job.to_string(), mark.disk.to_string(), mark.schedule.clone()));
    let expected = jobs.iter().flat_map(|(job, hour, disks)| {
        let schedule = format!("0 {hour} 29 2 *@Asia/Shanghai");
        disks.iter().map(move |disk| ((*job).to_owned(), id(*disk), schedule.clone()))
    });
    known.collect::<BTreeSet<_>>() == expected.collect()
}

#[tokio::test(start_paused = true)]
async fn thousands_of_disks_begin_change_and_end_each_once() {
    // Whole pieces, and one that is not full. Disks are listed, a hundred a second, before their jobs begin.
    let (all, two_pieces): (Vec<usize>, Vec<usize>) = ((0..2_500).collect(), (0..2_000).collect());
    let even: Vec<usize> = (0..2_500).step_by(2).collect();
    let before: [(&str, u32, &[usize]); 3] =
        [("changes", 1, &all), ("goes", 1, &two_pieces), ("grows", 3, &even)];
    let disks = all.iter().map(|number| Disk::new(&id(*number))).collect();
    let world = World::new(Setup { config: &text(&before), disks, ..Setup::default() });
    let daemon = world.start().await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let first = marks(&world).await;
    assert!(are_of(&first, &before), "all have begun");

    // Disks leave at the beginning, between others and at the end; others join there.
    let changed: Vec<usize> =
        all.iter().copied().filter(|number| number % 3 == 1 && *number < 2_400).chain(2_500..3_700).collect();
    let after: [(&str, u32, &[usize]); 3] =
        [("changes", 2, &changed), ("comes", 2, &all), ("grows", 3, &all)];
    world.reload(&daemon, &text(&after)).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let second = marks(&world).await;
    assert!(are_of(&second, &after), "all follow the new configuration, and no others");
    let grows = first.iter().filter(|mark| mark.job.as_str() == "grows");
    assert!(grows.clone().all(|mark| second.contains(mark)), "what changes nothing begins nothing anew");
    assert_eq!(grows.count(), even.len());
    world.stop(daemon).await;
}
