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

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
