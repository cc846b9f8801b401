//! What the demo shows while the night lasts: progress on a terminal, plain lines otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::App;
use crate::cli::table;
use crate::report::{Event, Kind, Report};

/// Counts events and shows the more telling ones.
pub(super) struct Watcher {
    bar: ProgressBar,
    terminal: bool,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    accepted: u64,
    completed: u64,
    failed: u64,
    ticks: u64,
    setbacks: BTreeMap<(String, String), u64>,
}

impl Watcher {
    pub(super) fn new(disks: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(disks) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} good  {msg}") {
            bar.set_style(style);
        }
        Self { bar, terminal, counts: Mutex::default() }
    }

    /// Shows how far the night is.
    pub(super) fn tick(&self, app: &App) {
        let settings = app.settings();
        let lane =
            settings.clouds.values().next().and_then(|cloud| cloud.lanes().next().map(|(_, lane)| lane));
        let mut counts = self.counts();
        counts.ticks += 1;
        let rate = lane.map_or(0.0, |lane| lane.rate);
        let shown = format!("{} accepted, lane at {rate:.1}/s", counts.accepted);
        self.bar.set_position(counts.completed);
        self.bar.set_message(shown.clone());
        // Without a terminal, a line every five seconds.
        if !self.terminal && counts.ticks.is_multiple_of(10) {
            eprintln!("{:4} good, {shown}, {} failed", counts.completed, counts.failed);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// What stood in the way: event, class and code, and how often.
    pub(super) fn setbacks(&self) -> Table {
        let mut table = table::table(&["TIMES", "WHAT", "EVENT"]);
        for ((event, what), count) in &self.counts().setbacks {
            table.add_row([count.to_string(), what.clone(), event.clone()]);
        }
        table
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Watcher {
    fn report(&self, event: &Event) {
        let mut counts = self.counts();
        match event.kind {
            Kind::BackupAccepted => counts.accepted += 1,
            Kind::BackupCompleted => counts.completed += 1,
            Kind::BackupFailed => counts.failed += 1,
            Kind::BackupRetry | Kind::QuotaFull | Kind::BackupAmbiguous | Kind::BackupVanished => {
                let what = match (&event.fields.class, &event.fields.code) {
                    (Some(class), Some(code)) => format!("{class}: {code}"),
                    (Some(class), None) => format!("{class}: no answer that settles it"),
                    (None, _) => event.message.clone(),
                };
                *counts.setbacks.entry((event.kind.name().to_owned(), what)).or_default() += 1;
            }
            Kind::BackupAdopted => {
                let what = "a backup whose reply was lost, found by its name".to_owned();
                *counts.setbacks.entry((event.kind.name().to_owned(), what)).or_default() += 1;
            }
            Kind::LaneThrottled | Kind::LaneRecovered | Kind::DaemonFault => {
                let line = format!("     {}: {}", event.kind.name(), event.message);
                if self.terminal { self.bar.println(line) } else { eprintln!("{line}") }
            }
            _ => {}
        }
    }
}
