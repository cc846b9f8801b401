//! The check of a large journal beside its daemon: of a small one the start has seen everything.
//!
//! Responsible for its pace: others want the disk and the processor too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::journal::{JournalError, Soundness};

/// So many times as long as a piece took it rests after it.
const REST: u32 = 9;
/// What cannot be read now is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Waits for damage to the journal at `path`; for ever where there is none.
pub(super) async fn damage(clock: Arc<dyn Clock>, path: PathBuf) -> JournalError {
    loop {
        match whole(&*clock, path.clone()).await {
            Ok(()) => std::future::pending().await,
            Err(error @ JournalError::Damaged { .. }) => return error,
            Err(error) => {
                tracing::debug!("the journal's soundness could not be seen: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn whole(clock: &dyn Clock, path: PathBuf) -> Result<(), JournalError> {
    let mut left = blocking(move || Soundness::of(&path)).await?;
    while let Some(mut soundness) = left.take() {
        let began = clock.mono();
        let (looked, soundness) = blocking(move || Ok((soundness.look()?, soundness))).await?;
        left = looked.then_some(soundness);
        tokio::time::sleep((clock.mono() - began).saturating_mul(REST)).await;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(JournalError::Gone))
}
