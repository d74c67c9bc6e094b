//! Access tokens that may be rotated while the process runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sendplane_send::runner::Tokens;
use sendplane_service::config::Secret;

/// How old a token may be after its file has changed.
const REREAD: Duration = Duration::from_secs(10);

/// Looks tokens up by credential; their files are read again every 10 s. A file that cannot be read
/// leaves the former token in force.
pub fn watch(credentials: BTreeMap<String, Secret>, runtime: &tokio::runtime::Handle) -> Tokens {
    let current = Arc::new(RwLock::new(credentials));
    let watched = Arc::downgrade(&current);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(REREAD).await;
            let Some(current) = watched.upgrade() else { return };
            refresh(&current);
        }
    });
    Arc::new(move |credential| {
        let current = current.read().unwrap_or_else(PoisonError::into_inner);
        current.get(credential).cloned().map(Into::into)
    })
}

fn refresh(current: &RwLock<BTreeMap<String, Secret>>) {
    let known = current.read().unwrap_or_else(PoisonError::into_inner).clone();
    for (credential, secret) in known {
        match secret.reread() {
            Ok(fresh) if fresh.expose() != secret.expose() => {
                tracing::info!(credential, "access token was rotated");
                let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
                current.insert(credential, fresh);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(credential, error, "access token keeps its value"),
        }
    }
}
