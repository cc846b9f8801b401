//! The tasks: each reads the journal, moves what it finds one step, and sleeps.
//!
//! Responsible for acting on what `backup_core` decides. Tasks take no input: a poke, a heartbeat or their own
//! next instant wakes them, and a missed, late or doubled one changes nothing.

pub mod attend;
pub mod clock_check;
pub mod compact;
pub mod discover;
pub mod driver;
pub mod inspect;
pub mod look;
pub mod notify;
pub mod plan;
pub mod preflight;
pub mod quotas;
pub mod reconcile;
pub mod requests;
pub mod restore;
pub mod retain;
pub mod room;
pub mod rounds;
pub mod submit;
pub mod sync;
pub mod tell;
pub mod track;
pub mod watch;
