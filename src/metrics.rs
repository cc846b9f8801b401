//! Metrics: what a monitoring system asks for, in OpenMetrics or in Prometheus's older text.
//!
//! Responsible for two kinds of figures. What happened is counted as it is said (`counters.rs`), from zero at each
//! start. How things stand is read at each question (`state.rs`, `gauges.rs`), from the journal through a connection of
//! its own: so it is right from the first moment on, and no question holds up a write. `endpoint.rs` answers, and
//! `listener.rs` listens. They refuse to decide anything, and to have labels whose values are not known beforehand.

pub mod counters;
mod endpoint;
mod format;
mod gauges;
pub mod listener;
mod state;
pub mod table;

pub use counters::Counters;
pub use endpoint::{Endpoint, Progress};
pub use listener::Listener;
