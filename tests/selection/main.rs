//! Disks that jobs select, and fleets of several accounts and regions: whole daemons against the simulated cloud,
//! under a paused clock.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod fleet;
mod jobs;
mod pieces;
mod support;
