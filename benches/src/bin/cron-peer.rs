//! `cron-peer`: what somebody would write with tokio-cron-scheduler, one job a disk. Its client is the daemon's: there is
//! no vendor's for Rust.
//!
//! Says `ready` once all jobs are added, and `done` once each was answered; then it waits to be killed.

#![expect(clippy::unwrap_used, reason = "a failure ends the benchmark")]

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use benchmarks::wire::Wire;
use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};

#[derive(Parser)]
struct Arguments {
    /// Where the cloud is
    #[arg(long)]
    endpoint: String,
    /// How many disks
    #[arg(long)]
    disks: usize,
    /// When the first is due, in seconds since the epoch
    #[arg(long)]
    due: i64,
    /// Over how many seconds they are spread
    #[arg(long, default_value_t = 1)]
    over: i64,
}

#[tokio::main]
async fn main() {
    let Arguments { endpoint, disks, due, over } = Arguments::parse();
    let wire = Arc::new(Wire::new(endpoint, false));
    let (done, mut all) = mpsc::unbounded_channel();
    // By default it loses what does not fit into 200.
    let scheduler = JobScheduler::new_with_channel_size(disks.max(200)).await.unwrap();
    for number in 0..disks {
        let at = due + i64::try_from(number).unwrap() % over;
        let at = Timestamp::from_second(at).unwrap().to_zoned(TimeZone::UTC);
        let cron = format!("{} {} {} * * *", at.second(), at.minute(), at.hour());
        let (wire, done) = (Arc::clone(&wire), done.clone());
        let job = Job::new_async(cron, move |_, _| {
            let (wire, done) = (Arc::clone(&wire), done.clone());
            Box::pin(async move {
                wire.create(number).await;
                done.send(number).unwrap();
            })
        });
        scheduler.add(job.unwrap()).await.unwrap();
    }
    scheduler.start().await.unwrap();
    say("ready");
    // The scheduler may fire a job twice.
    let mut answered = HashSet::new();
    while answered.len() < disks {
        answered.insert(all.recv().await.unwrap());
    }
    say("done");
    std::future::pending().await
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}
