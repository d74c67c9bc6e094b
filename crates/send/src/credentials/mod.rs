//! Access tokens that are rotated while the process runs, and that end.
//!
//! A token's file is read again every second. What can be read takes effect at once; what cannot
//! leaves the former token in force, so that a half-written file stops nobody. A credential without
//! any token refuses its tenants' calls and nobody else's.
//!
//! When a token ends is told by the file beside it, `<token-file>.expires-at`, which a rotation
//! writes together with the token, else by `expires-at` in the configuration.

mod expiry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::gauge;
use secrecy::SecretString;
use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_service::config::Secret;

pub use expiry::{Warned, parse_moment, warning};

use crate::runner::Tokens;

/// Seconds until a credential's token ends; negative since it has ended. Absent while nobody says
/// when it does.
pub const EXPIRES_SECONDS: &str = "sendplane_credential_expires_seconds";

/// How old a token may be after its file has changed.
pub const REREAD: Duration = Duration::from_secs(1);

/// Where a credential's token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The file with the token.
    pub token_file: PathBuf,
    /// When the token ends, unless the file beside it says otherwise.
    pub expires_at: Option<Timestamp>,
}

/// The credentials of the process.
pub struct Credentials(RwLock<BTreeMap<String, Entry>>);

struct Entry {
    credential: Credential,
    /// Or what is wrong with its file.
    token: Result<Secret, String>,
    /// What was wrong at the last look: said once, not every second.
    fault: Option<String>,
    expires_at: Option<Timestamp>,
    warned: Option<Warned>,
}

impl Credentials {
    /// Reads all of them.
    pub fn read(credentials: BTreeMap<String, Credential>, now: Timestamp) -> Self {
        let unread = |credential: Credential| Entry {
            expires_at: credential.expires_at,
            credential,
            token: Err("was not read yet".to_owned()),
            fault: None,
            warned: None,
        };
        let entries = credentials.into_iter().map(|(name, one)| (name, unread(one))).collect();
        let all = Self(RwLock::new(entries));
        all.refresh(now);
        all
    }

    /// The token of `credential`, else what is missing and where to put it.
    pub fn token(&self, credential: &str) -> Result<SecretString, String> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get(credential) else {
            return Err(format!(
                "this instance has no credential {credential:?}: add it to [send.credentials], or \
                 correct the tenant's record"
            ));
        };
        entry.token.clone().map(Into::into).map_err(|fault| {
            format!(
                "credential {credential:?} has no token: token-file {fault}; write the access \
                 token into it, it is read again every second"
            )
        })
    }

    /// Reads every file again, sets the gauges and warns of what ends soon.
    pub fn refresh(&self, now: Timestamp) {
        // Files are read without the lock: calls do not wait for a slow disk.
        let known: Vec<(String, Credential)> = {
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            entries.iter().map(|(name, entry)| (name.clone(), entry.credential.clone())).collect()
        };
        let found: Vec<_> =
            known.iter().map(|(name, credential)| (name, read(credential))).collect();
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, (token, expires_at)) in found {
            if let Some(entry) = entries.get_mut(name) {
                entry.take(name, token, expires_at);
                entry.warn(name, now);
            }
        }
    }
}

fn read(credential: &Credential) -> (Result<Secret, String>, Result<Option<Timestamp>, String>) {
    let token = Secret::read(&credential.token_file.display().to_string());
    let mut beside = credential.token_file.clone().into_os_string();
    beside.push(".expires-at");
    let expires_at = match std::fs::read_to_string(&beside) {
        Ok(text) => parse_moment(text.trim()).map(Some).ok_or_else(|| {
            format!(
                "{} does not say when the token ends; write a time such as 2027-01-31T00:00:00Z",
                PathBuf::from(&beside).display()
            )
        }),
        Err(_) => Ok(credential.expires_at),
    };
    (token, expires_at)
}

impl Entry {
    fn take(
        &mut self,
        credential: &str,
        token: Result<Secret, String>,
        expires_at: Result<Option<Timestamp>, String>,
    ) {
        let fault = token.as_ref().err().or(expires_at.as_ref().err()).cloned();
        if fault != self.fault {
            if let Some(fault) = &fault {
                tracing::error!(
                    credential,
                    fault,
                    "credential cannot be read; what was read before stays in force"
                );
            }
            self.fault = fault;
        }
        match (token, &self.token) {
            (Ok(fresh), Ok(former)) if fresh.expose() == former.expose() => {}
            (Ok(fresh), former) => {
                if former.is_ok() {
                    tracing::info!(credential, "access token was rotated");
                }
                self.token = Ok(fresh);
            }
            (Err(_), Ok(_)) => {}
            (Err(fault), Err(_)) => self.token = Err(fault),
        }
        if let Ok(expires_at) = expires_at
            && expires_at != self.expires_at
        {
            self.expires_at = expires_at;
            self.warned = None;
        }
    }

    fn warn(&mut self, credential: &str, now: Timestamp) {
        let Some(expires_at) = self.expires_at else { return };
        let left_ms = expires_at.as_millis().saturating_sub(now.as_millis());
        gauge!(EXPIRES_SECONDS, "credential" => credential.to_owned()).set(left_ms as f64 / 1e3);
        let Some(warning) = warning(expires_at, now, self.warned) else { return };
        self.warned = Some(warning);
        let days = left_ms.div_euclid(24 * 3_600_000);
        match warning {
            Warned::Expired => {
                tracing::error!(credential, "access token has expired: write a new one to its file")
            }
            Warned::Days30 | Warned::Days7 | Warned::Days1 => tracing::warn!(
                credential,
                days_left = days,
                "access token ends soon: write a new one to its file"
            ),
        }
    }
}

/// Reads the files again for as long as the tokens are in use.
pub fn watch(
    credentials: BTreeMap<String, Credential>,
    runtime: &tokio::runtime::Handle,
) -> Tokens {
    let all = Arc::new(Credentials::read(credentials, clock::now()));
    let watched = Arc::downgrade(&all);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(REREAD).await;
            let Some(all) = watched.upgrade() else { return };
            // A slow disk must not hold up calls, which share these threads.
            let read = tokio::task::spawn_blocking(move || all.refresh(clock::now()));
            if read.await.is_err() {
                tracing::error!("reading access tokens failed; they are read again");
            }
        }
    });
    Arc::new(move |credential| all.token(credential))
}

#[cfg(test)]
mod tests;
