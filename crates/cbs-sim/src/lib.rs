//! A stand-in for the API of Tencent Cloud Block Storage: disks with quotas, backups that take their time, rate
//! limits, and faults on demand.
//!
//! Responsible for behaving as the cloud does, or as badly as it may. It refuses to share code with the client
//! that it checks: signatures are verified, and requests read, by its own.
//!
//! [`Sim::handle`] is a plain function of the request, the state and the clock; it says what the network shall
//! do with the reply. The TCP front ([`serve`]) and in-process transports carry that out.

// A disk has more keys than `json!` takes by default.
#![recursion_limit = "256"]

mod actions;
mod cloud;
mod faults;
mod judge;
mod ledger;
mod server;
mod sim;
mod verify;
mod world;

pub use faults::{Effect, Rule};
pub use ledger::{BackupRecord, Ledger, RequestRecord};
pub use server::serve;
pub use sim::{Clock, Outcome, Reply, Request, Response, Sim};
pub use world::{Account, Between, CreateTimeShape, DiskSpec, MissingIds, World};
