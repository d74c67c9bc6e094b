//! What an app's webhooks are checked with. Secrets are rotated while requests come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};

/// The secrets of one app.
#[derive(Clone, Debug)]
pub struct AppSecrets {
    /// The app secret: key of the signatures.
    pub current: SecretString,
    /// The app secret before the last rotation, while Meta may still sign with it.
    pub previous: Option<SecretString>,
    /// What Meta sends when the address is registered.
    pub verify_token: SecretString,
}

/// A secret that everybody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{secret} of webhook app {app:?} is empty; set it, or remove the app")]
pub struct EmptySecret {
    app: String,
    secret: &'static str,
}

/// The secrets of all apps, by the name that stands in their path. Clones share them.
#[derive(Clone, Debug)]
pub struct Apps {
    current: Arc<ArcSwap<BTreeMap<String, AppSecrets>>>,
}

impl Apps {
    /// An empty secret is refused: whoever guesses that could sign with it.
    pub fn new(apps: BTreeMap<String, AppSecrets>) -> Result<Self, EmptySecret> {
        check(&apps)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(apps)) })
    }

    /// Puts `apps` in force for every request whose body has not been checked yet.
    pub fn replace(&self, apps: BTreeMap<String, AppSecrets>) -> Result<(), EmptySecret> {
        check(&apps)?;
        self.current.store(Arc::new(apps));
        Ok(())
    }

    /// The secrets of `app` now.
    pub(super) fn get(&self, app: &str) -> Option<AppSecrets> {
        self.current.load().get(app).cloned()
    }

    pub(super) fn contains(&self, app: &str) -> bool {
        self.current.load().contains_key(app)
    }
}

fn check(apps: &BTreeMap<String, AppSecrets>) -> Result<(), EmptySecret> {
    apps.iter().try_for_each(|(app, secrets)| secrets.check(app))
}

impl AppSecrets {
    /// None of them is empty.
    fn check(&self, app: &str) -> Result<(), EmptySecret> {
        let all = [
            ("current secret", Some(&self.current)),
            ("previous secret", self.previous.as_ref()),
            ("verify token", Some(&self.verify_token)),
        ];
        let empty = |secret: &SecretString| secret.expose_secret().is_empty();
        match all.into_iter().find(|(_, secret)| secret.is_some_and(empty)) {
            Some((secret, _)) => Err(EmptySecret { app: app.to_owned(), secret }),
            None => Ok(()),
        }
    }
}
