//! Secrets that are rotated while the gateway runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sendplane_ingest::gateway::{AppSecrets, Apps, Path};
use sendplane_service::config::Secret;
use tokio::runtime::Handle;

/// One app's secrets with the files they come from, as read last.
#[derive(Clone, Debug)]
pub struct AppFiles {
    /// The app secret.
    pub current: Secret,
    /// The app secret before the last rotation.
    pub previous: Option<Secret>,
    /// The verify token.
    pub verify_token: Secret,
}

impl AppFiles {
    /// What the files held when they were read last.
    pub fn secrets(&self) -> AppSecrets {
        AppSecrets {
            current: self.current.clone().into(),
            previous: self.previous.clone().map(Into::into),
            verify_token: self.verify_token.clone().into(),
        }
    }

    /// What the files hold now: all of them, or none. The current secret is read first: whoever
    /// rotates writes the previous one first, so that at no time the old secret is in neither.
    fn reread(&self) -> Result<Self, String> {
        let current = self.current.reread()?;
        Ok(Self {
            previous: self.previous.as_ref().map(Secret::reread).transpose()?,
            verify_token: self.verify_token.reread()?,
            current,
        })
    }

    fn is(&self, other: &Self) -> bool {
        let previous = |files: &Self| files.previous.as_ref().map(|s| s.expose().to_owned());
        self.current.expose() == other.current.expose()
            && self.verify_token.expose() == other.verify_token.expose()
            && previous(self) == previous(other)
    }
}

/// The secrets of all of `files`, by app.
pub fn of_all(files: &BTreeMap<String, AppFiles>) -> BTreeMap<String, AppSecrets> {
    files.iter().map(|(app, files)| (app.clone(), files.secrets())).collect()
}

/// Reads the files again and again for as long as `runtime` runs, puts what has changed in force
/// and tells `path`. An app whose files cannot all be read keeps its secrets.
pub fn watch(
    files: BTreeMap<String, AppFiles>,
    apps: Apps,
    path: Arc<Path>,
    every: Duration,
    runtime: &Handle,
) -> tokio::task::JoinHandle<()> {
    runtime.spawn(async move {
        let mut watched = Watched { files, faults: BTreeMap::new() };
        loop {
            tokio::time::sleep(every).await;
            if !watched.refresh() {
                continue;
            }
            match apps.replace(of_all(&watched.files)) {
                Ok(()) => path.secrets_changed(),
                Err(error) => tracing::error!(%error, "secrets keep their values"),
            }
        }
    })
}

struct Watched {
    files: BTreeMap<String, AppFiles>,
    /// What is wrong with an app's files, so that it is said once.
    faults: BTreeMap<String, String>,
}

impl Watched {
    /// Reads all files again; true if a secret has changed.
    fn refresh(&mut self) -> bool {
        let mut changed = false;
        for (app, files) in &mut self.files {
            let stale = metrics::gauge!("sendplane_webhook_secrets_stale", "app" => app.clone());
            match files.reread() {
                Ok(fresh) => {
                    stale.set(0);
                    self.faults.remove(app);
                    if !fresh.is(files) {
                        tracing::info!(app, "secrets were rotated");
                        *files = fresh;
                        changed = true;
                    }
                }
                Err(fault) => {
                    stale.set(1);
                    if self.faults.get(app) != Some(&fault) {
                        tracing::warn!(app, fault, "secrets keep their values: a file");
                        self.faults.insert(app.clone(), fault);
                    }
                }
            }
        }
        changed
    }
}
