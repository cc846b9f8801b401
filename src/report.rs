//! What the daemon says: events, and where they go.
//!
//! Responsible for the one type that every line of the log comes from. It refuses to decide what happened.

pub mod event;
pub mod log;

pub use event::{Event, Fields, Kind, Level};

/// Where events go.
pub trait Report: Send + Sync {
    /// Takes an event.
    fn report(&self, event: &Event);
}
