//! The simulator from outside: in the same process on a clock set by hand, and over TCP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod cloud;
mod credentials;
mod faults;
mod judging;
mod snapshots;
mod support;
mod tcp;
