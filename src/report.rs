//! What the daemon says: events, and where they go.
//!
//! Responsible for the one type that every line of the log comes from. It refuses to decide what happened.

pub mod event;
pub mod log;

use std::sync::Arc;

use tokio::sync::watch;

pub use event::{Event, Fields, Kind, Level, Say};

/// Where events go.
pub trait Report: Send + Sync {
    /// Takes an event, without waiting for anybody.
    fn report(&self, event: &Event);

    /// A receipt for all that was reported so far. It is good at once where nothing waits to be written.
    fn receipt(&self) -> Receipt {
        Receipt::default()
    }

    /// Takes that a notifier was sent something, or that it could not be: `sent`, `failed`.
    fn notified(&self, _notifier: &str, _outcome: &'static str) {}
}

/// Says when what was reported has been handed to where it goes.
#[derive(Clone, Default)]
pub struct Receipt(Vec<(u64, watch::Receiver<u64>)>);

impl Receipt {
    /// A receipt that is good once `written` has come to `number`.
    #[must_use]
    pub fn of(number: u64, written: watch::Receiver<u64>) -> Self {
        Self(vec![(number, written)])
    }

    /// Whether it is good.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|(number, written)| *written.borrow() >= *number)
    }

    /// Waits until it is good; for ever where what was reported has nowhere to go any more.
    pub async fn good(self) {
        for (number, mut written) in self.0 {
            if written.wait_for(|written| *written >= number).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Hands every event to several, in their order.
pub struct Fan(pub Vec<Arc<dyn Report>>);

impl Report for Fan {
    fn report(&self, event: &Event) {
        for each in &self.0 {
            each.report(event);
        }
    }

    fn receipt(&self) -> Receipt {
        Receipt(self.0.iter().flat_map(|each| each.receipt().0).collect())
    }

    fn notified(&self, notifier: &str, outcome: &'static str) {
        for each in &self.0 {
            each.notified(notifier, outcome);
        }
    }
}

/// An error and its causes, in one line. A cause that the text has just named is not named again.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// `1 disk`, `2 disks`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Words {
        text: &'static str,
        #[source]
        cause: Option<Box<Words>>,
    }

    #[test]
    fn a_cause_that_was_just_named_is_not_named_again() {
        let cause = |text, cause: Option<Words>| Words { text, cause: cause.map(Box::new) };
        let dns = cause("no such host", None);
        let error = cause("CreateDiskBackup failed: no connection", Some(cause("no connection", Some(dns))));
        assert_eq!(chain(&error), "CreateDiskBackup failed: no connection: no such host");
    }
}
