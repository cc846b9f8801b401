//! A client for Tencent Cloud Block Storage: signing, credentials, typed calls, typed errors, rate limits.
//!
//! It knows nothing of schedules and journals. A create goes in two steps, so that its caller can write down what
//! it is about to do:
//!
//! ```
//! # async fn example(client: cbs::Client) -> Result<(), cbs::Error> {
//! use cbs::{Action, Priority};
//!
//! let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
//! // Here the intent is made durable: nothing has left yet, and nobody else departs meanwhile.
//! let accepted = client.create_disk_backup(permit, "disk-1a2b3c4d", "ops1_db_20261124T183000Z").await?;
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

pub mod action;
pub mod api;
pub mod client;
pub mod credentials;
pub mod error;
pub mod limiter;
mod reply;
pub mod sign;
#[cfg(test)]
mod testing;
pub mod transport;

pub use action::Action;
pub use api::{
    Accepted, BackupState, BackupsQuery, Deleted, Disk, DiskBackup, DiskState, DisksQuery, Filter, Listing,
    NewSnapshot, Page, Power, Snapshot, SnapshotAccepted, SnapshotState, SnapshotsQuery,
};
pub use client::{Client, Clock, Endpoint, Ports, Settings};
pub use error::{Class, Error};
pub use limiter::{Lane, Lanes, Permit, Priority};
pub use transport::{Fetch, HttpRequest, HttpResponse, ReqwestTransport, Sent, Transport, TransportError};
