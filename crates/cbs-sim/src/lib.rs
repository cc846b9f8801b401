//! A stand-in for the API of Tencent Cloud Block Storage: it verifies, limits, executes, and fails on purpose.
//!
//! [`Sim::handle`] is the whole of it: synchronous, without a runtime, on a clock that the caller gives. A test
//! calls it in its own process; [`server::serve`] puts it on a TCP port. Every request and every backup is in
//! its [`Ledger`]. It shares no code with the clients that it checks. `README.md` has the JSON of state files and
//! fault scripts.

#![forbid(unsafe_code)]
// For the forty-odd keys of a disk in one `json!`.
#![recursion_limit = "256"]

mod actions;
mod cloud;
mod error;
mod faults;
mod judge;
mod ledger;
mod params;
mod random;
mod request;
mod rfc3339;
pub mod server;
mod sim;
mod verify;
mod world;

pub use faults::{Effect, Rule, Which};
pub use ledger::{BackupRecord, Ledger, RequestRecord};
pub use request::{Outcome, Reply, Request, Response};
pub use sim::{Clock, Sim};
pub use world::{
    BackupState, Choices, CreateTime, Credential, Disk, DiskState, ExistingBackup, MissingIds, Timings, World,
};
