//! `bare-client`: the daemon's HTTP client and signature, and nothing else: no journal, no schedule, no limit. How many
//! creates that gets through is what the daemon's throughput is held against.
//!
//! Prints the seconds that they took.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use benchmarks::wire::Wire;
use clap::Parser;
use governor::{Quota, RateLimiter};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Arguments {
    /// Where the cloud is
    #[arg(long)]
    endpoint: String,
    /// How many disks
    #[arg(long)]
    disks: usize,
    /// How many calls are under way at once
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// So many calls a second by governor, with as large a burst: what its documentation begins with
    #[arg(long)]
    burst: Option<NonZeroU32>,
    /// Each call on a connection of its own, as the daemon does it
    #[arg(long)]
    fresh: bool,
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn main() {
    let Arguments { endpoint, disks, at_once, burst, fresh } = Arguments::parse();
    let wire = Arc::new(Wire::new(endpoint, fresh));
    let next = Arc::new(AtomicUsize::new(0));
    let limiter = burst.map(|rate| Arc::new(RateLimiter::direct(Quota::per_second(rate))));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..at_once {
        let (wire, next, limiter) = (Arc::clone(&wire), Arc::clone(&next), limiter.clone());
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= disks {
                    break;
                }
                if let Some(limiter) = &limiter {
                    limiter.until_ready().await;
                }
                let reply = wire.create(number).await;
                assert!(limiter.is_some() || reply.contains("DiskBackupId"), "{reply}");
            }
        });
    }
    callers.join_all().await;
    println!("{:.6}", began.elapsed().as_secs_f64());
}
