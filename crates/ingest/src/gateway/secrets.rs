//! What an app's webhooks are checked with.

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

impl AppSecrets {
    /// None of them is empty.
    pub(super) fn check(&self, app: &str) -> Result<(), EmptySecret> {
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
