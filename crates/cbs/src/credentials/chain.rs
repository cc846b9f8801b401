//! The first of several sources that is in use.

use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Credentials, CredentialsError, Health, ProvideCredentials};

/// Sources in an order: the first that is configured is taken. One that is configured and wrong is an error, and no
/// reason to go on to the next, which may be another account's.
///
/// Once a source has given a credential, it is the source for good.
#[derive(Debug)]
pub struct Chain {
    sources: Vec<Arc<dyn ProvideCredentials>>,
    chosen: OnceLock<Arc<dyn ProvideCredentials>>,
}

impl Chain {
    /// The first of these. Whether the last is in use may be found out by asking a service that is not there: its
    /// silence means that nothing was found.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn ProvideCredentials>>) -> Self {
        Self { sources, chosen: OnceLock::new() }
    }

    async fn choose(&self) -> Result<Credentials, CredentialsError> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.provide().await;
        }
        let mut sought = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            match source.provide().await {
                Ok(credentials) => {
                    // Another caller may have chosen meanwhile; the order is the same for both.
                    let _ = self.chosen.set(Arc::clone(source));
                    return Ok(credentials);
                }
                Err(error) => match fruitless(&error, place + 1 == self.sources.len()) {
                    Some(looked_for) => sought.push(looked_for),
                    None => return Err(error),
                },
            }
        }
        Err(CredentialsError::NotConfigured { looked_for: sought.join(", ") })
    }
}

/// What was looked for, where nothing was found.
fn fruitless(error: &CredentialsError, last: bool) -> Option<String> {
    match error {
        CredentialsError::Again(error) => fruitless(error, last),
        CredentialsError::NotConfigured { looked_for } => Some(looked_for.clone()),
        CredentialsError::Unavailable { place, what } if last => Some(format!("{place} ({what})")),
        _ => None,
    }
}

impl ProvideCredentials for Chain {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        self.choose().boxed()
    }

    fn refused(&self, credentials: &Credentials) {
        if let Some(chosen) = self.chosen.get() {
            chosen.refused(credentials);
        }
    }

    fn tend(&self) {
        if let Some(chosen) = self.chosen.get() {
            chosen.tend();
        }
    }

    fn health(&self) -> Option<Health> {
        self.chosen.get()?.health()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Says what its script says, by the number of the call; the last again and again.
    #[derive(Debug)]
    struct Scripted(&'static [Answer], AtomicU64);

    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Credential(&'static str),
        Nothing,
        Wrong,
        Silence,
    }
    use Answer::{Credential, Nothing, Silence, Wrong};

    impl ProvideCredentials for Scripted {
        fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
            let call = usize::try_from(self.1.fetch_add(1, Ordering::Relaxed)).unwrap();
            let (place, what) = ("place".to_owned(), "what".to_owned());
            let answer = match self.0[call.min(self.0.len() - 1)] {
                Credential(id) => Ok(Credentials::new(id.to_owned(), "key".into(), None).unwrap()),
                Nothing => Err(CredentialsError::NotConfigured { looked_for: "it".to_owned() }),
                Wrong => Err(CredentialsError::Invalid { place, what }),
                Silence => {
                    Err(CredentialsError::Again(Arc::new(CredentialsError::Unavailable { place, what })))
                }
            };
            futures_util::future::ready(answer).boxed()
        }
    }

    fn chain(scripts: &[&'static [Answer]]) -> Chain {
        let source = |script: &&'static [Answer]| Arc::new(Scripted(script, AtomicU64::new(0))) as Arc<_>;
        Chain::new(scripts.iter().map(source).collect())
    }

    async fn id(chain: &Chain) -> String {
        chain.provide().await.map_or_else(|error| error.to_string(), |found| found.id().to_owned())
    }

    #[tokio::test]
    async fn the_first_that_is_configured_is_taken_and_kept() {
        let chain = chain(&[&[Nothing, Credential("late")], &[Credential("b")], &[Credential("c")]]);
        assert_eq!(id(&chain).await, "b");
        assert_eq!(id(&chain).await, "b", "the account changed under way");
    }

    #[tokio::test]
    async fn one_that_is_wrong_ends_the_search_until_it_is_mended() {
        let chain = chain(&[&[Nothing], &[Wrong, Credential("mended")], &[Credential("another account's")]]);
        assert_eq!(id(&chain).await, "place: what");
        assert_eq!(id(&chain).await, "mended");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_passed_over_in_the_last_place_alone() {
        assert_eq!(id(&chain(&[&[Silence], &[Credential("b")]])).await, "place: what");
        assert_eq!(
            id(&chain(&[&[Nothing], &[Silence]])).await,
            "no credential found: looked for it, place (what)"
        );
    }
}
