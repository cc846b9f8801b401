//! `demo`: a night of 600 disks against a simulated cloud that misbehaves, in about two minutes.
//!
//! Real parts throughout: the daemon, its journal on disk, and the simulator behind a TCP port on loopback. Only
//! the wall clock is set, to just before 02:30 in Shanghai, so that the night's backups are due at once.

mod night;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cbs_sim::{Ledger, Sim};
use clap::Args;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::exit::{Exit, Failure, Outcome};
use super::open::{self, Opened};
use super::table;
use crate::clock::{Clock, SystemClock};
use crate::daemon::Daemon;
use crate::heartbeat::Heartbeat;
use crate::journal::{Filter, Row};
use crate::report::log::Levels;
use watch::Watcher;

/// How long the night may last before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the journal is asked whether all is done.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(super) struct Arguments {
    /// How many disks, 100 to 5000
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(100..=5000))]
    disks: u32,
}

pub(super) fn demo(arguments: &Arguments) -> Outcome {
    let runtime = open::runtime()?;
    let folder = std::env::temp_dir().join(format!("cbs-backupd-demo-{}", std::process::id()));
    let outcome = runtime.block_on(play(arguments.disks, folder.clone()));
    // What is left behind in the temporary folder is no failure of the demo.
    let _ = std::fs::remove_dir_all(folder);
    outcome
}

struct SimClock(Arc<dyn Clock>);

impl cbs_sim::Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.wall()
    }
}

async fn play(disks: u32, state_dir: PathBuf) -> Outcome {
    let night = night::Night::of(disks);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(night::until_half_past_two(open::clock().wall())));
    let sim = Sim::new(night.world(), Arc::new(SimClock(Arc::clone(&clock))));
    let failed = |error: std::io::Error| Failure::io("start the simulated cloud", &error);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
    let (close, closed) = oneshot::channel::<()>();
    let server = tokio::spawn(cbs_sim::server::serve(listener, sim.clone(), async {
        let _ = closed.await;
    }));

    let config = night.config(&endpoint, state_dir.clone())?;
    std::fs::create_dir_all(&state_dir).map_err(failed)?;
    table::print(format_args!(
        "A simulated cloud listens on {endpoint}. It allows 20 calls a second, and misbehaves in {} ways.\n\
         The clock is set to {} in Shanghai: {disks} disks are due at 02:30.\n",
        night.faults(),
        clock.wall().to_zoned(config.jobs[0].schedule.zone().clone()).strftime("%H:%M:%S"),
    ))?;

    let began = clock.mono();
    let watcher = Arc::new(Watcher::new(u64::from(disks)));
    let environment = night.environment();
    let Opened { app, .. } =
        open::app(Arc::new(config), Arc::clone(&clock), (watcher.clone(), Levels::default()), environment)
            .await?;
    let daemon = Daemon::start(Arc::clone(&app));
    let heartbeat =
        Heartbeat::start(&app).await.map_err(|error| Failure::io("start the heartbeat", &error))?;
    let journal = app.parts.journal.clone();
    let rows = loop {
        tokio::time::sleep(EVERY).await;
        let all = Filter { limit: disks * 2, ..Filter::default() };
        let rows = journal
            .read(move |store| store.history(&all))
            .await
            .map_err(|error| Failure::io("read the journal", &*error))?;
        watcher.tick(&app);
        let ended = rows.iter().filter(|row| row.run.state.is_ended()).count();
        if ended == disks as usize || clock.mono().saturating_sub(began) > PATIENCE {
            break rows;
        }
    };
    daemon.stop().await;
    heartbeat.stop().await;
    watcher.finish();
    let took = clock.mono().saturating_sub(began);
    let ledger = sim.ledger();
    let _ = close.send(());
    let _ = server.await;
    conclude(&night, &rows, &ledger, &watcher, took)
}

/// The table at the end, and whether the promise was kept.
fn conclude(
    night: &night::Night,
    rows: &[Row],
    ledger: &Ledger,
    watcher: &Watcher,
    took: Duration,
) -> Outcome {
    let mut by_outcome: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for row in rows {
        *by_outcome.entry((row.run.state.name(), row.run.state.reason().unwrap_or_default())).or_default() +=
            1;
    }
    let mut runs = table::table(&["RUNS", "ENDED AS", "BECAUSE"]);
    for ((state, reason), count) in &by_outcome {
        runs.add_row([count.to_string().into(), table::state(state), comfy_table::Cell::new(reason)]);
    }
    table::print("How the night's runs ended:\n")?;
    table::print_table(&runs)?;
    table::print("\nWhat stood in the way, and was overcome:\n")?;
    table::print_table(&watcher.setbacks())?;

    let copies = night.copies(ledger);
    let twice = copies.values().filter(|count| **count > 1).count();
    let without = night.good_disks().filter(|disk| !copies.contains_key(*disk)).count();
    let hopeless = rows
        .iter()
        .filter(|row| night.is_hopeless(&row.run.id.disk) && row.run.state.name() == "failed")
        .count();
    let completed = rows.iter().filter(|row| row.run.state.name() == "completed").count();
    let creates = ledger.requests_of("CreateDiskBackup").count();
    table::print(format_args!(
        "\nThe cloud's own ledger:\n\n  {} disks with exactly one backup, {twice} with more, {without} without one that should have it\n  \
         {creates} creates and {} look-ups arrived; at most {} creates in any one second\n  \
         {:.0} seconds for the whole night",
        copies.values().filter(|count| **count == 1).count(),
        ledger.requests_of("DescribeDiskBackups").count(),
        ledger.peak_arrivals_in_any_second("CreateDiskBackup"),
        took.as_secs_f64(),
    ))?;
    let kept = twice == 0 && without == 0 && completed + hopeless == rows.len() && rows.len() == night.size();
    table::print(if kept {
        "\nEvery due backup was made once, followed to the end, and accounted for."
    } else {
        "\nThe promise was NOT kept: please report this."
    })?;
    Ok(if kept { Exit::Good } else { Exit::Late })
}
