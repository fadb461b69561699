//! Where tokens come from.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

type Fetching = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Fetches a token when one is wanted.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn Fn() -> Fetching + Send + Sync>);

impl Provider {
    pub(crate) fn new<P, F, E>(provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self(Arc::new(move || {
            let fetching = provider();
            Box::pin(async move { fetching.await.map_err(|error| error.to_string()) })
        }))
    }

    pub(crate) fn fetch(&self) -> Fetching {
        (self.0)()
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}
