//! The schema registry as a stage sees it: ids looked up at the start, schemas of other writers on
//! demand, both kept on disk for times without a registry.
//!
//! Nothing here registers; [`deploy`] does, and only the operator's command calls it.

mod cache;
mod client;
pub mod deploy;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use sendplane_wire::codec::{SchemaFault, SchemaSource};
use sendplane_wire::registry::{SUBJECTS, Subject};
use tokio::runtime::Handle;

use crate::clock;
use cache::DiskCache;
pub use client::{Client, Fault, Version};

/// An unknown id is asked for again only after this time: poisoned input may name it in every
/// record.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);

/// A call to the registry ends within 3 s; finding an id among old versions takes several.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Why the ids of our schemas are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupFault {
    /// These subjects do not hold our schemas.
    #[error(
        "the registry does not hold this release's schema of {}: run `sendplane schemas register`",
        .0.join(", ")
    )]
    NotRegistered(Vec<String>),
    /// No answer, and nothing on disk.
    #[error("schema registry cannot be reached and the ids are not in the cache: {0}")]
    Unavailable(String),
}

/// A registry with its caches. Blocking calls may be made from any thread; on a thread of an async
/// runtime they block it.
pub struct Registry {
    client: Client,
    disk: Option<DiskCache>,
    handle: Handle,
    known: RwLock<HashMap<u32, Arc<Schema>>>,
    unknown: Mutex<HashMap<u32, Instant>>,
}

impl Registry {
    /// For the registry at `url`; calls run on `handle`. Without `cache_dir` nothing is kept on
    /// disk.
    pub fn new(url: &str, cache_dir: Option<&Path>, handle: Handle) -> Result<Self, Fault> {
        Ok(Self {
            client: Client::new(url)?,
            disk: cache_dir.map(DiskCache::new),
            handle,
            known: RwLock::default(),
            unknown: Mutex::default(),
        })
    }

    /// The interface behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The ids of all our subjects, by topic. From disk when the registry is down.
    pub fn lookup_ids(&self) -> Result<HashMap<&'static str, u32>, LookupFault> {
        let mut ids = HashMap::new();
        let mut missing = Vec::new();
        let mut down = None;
        for subject in SUBJECTS {
            let found = match &down {
                // Asking on would only cost a timeout for each subject.
                Some(why) => {
                    self.cached_id(subject).ok_or(LookupFault::Unavailable(String::clone(why)))
                }
                None => self.lookup_online(subject).or_else(|fault| {
                    let LookupFault::Unavailable(why) = fault else {
                        return Err(fault);
                    };
                    tracing::warn!(why, "registry is down, ids are taken from the cache");
                    let cached = self.cached_id(subject);
                    down = Some(why.clone());
                    cached.ok_or(LookupFault::Unavailable(why))
                }),
            };
            match found {
                Ok(id) => drop(ids.insert(subject.topic, id)),
                Err(LookupFault::NotRegistered(subjects)) => missing.extend(subjects),
                Err(unavailable) => return Err(unavailable),
            }
        }
        if missing.is_empty() { Ok(ids) } else { Err(LookupFault::NotRegistered(missing)) }
    }

    /// The id of one subject: of the version that equals our schema, which need not be the latest
    /// while a newer release is rolled out.
    pub fn lookup_online(&self, subject: &'static Subject) -> Result<u32, LookupFault> {
        let name = subject.name();
        let client = self.client.clone();
        let asked = name.clone();
        match self.wait(async move { find_version(&client, &asked, subject.schema_json).await }) {
            Ok(Some(id)) => {
                self.remember(id, subject.schema_json);
                if let Some(disk) = &self.disk {
                    disk.put_id(&name, id);
                }
                Ok(id)
            }
            Ok(None) | Err(Fault::NotFound(_) | Fault::Refused(_)) => {
                Err(LookupFault::NotRegistered(vec![name]))
            }
            Err(Fault::Unavailable(why)) => Err(LookupFault::Unavailable(why)),
        }
    }

    /// The id on disk, if its schema there equals ours.
    fn cached_id(&self, subject: &Subject) -> Option<u32> {
        let disk = self.disk.as_ref()?;
        let id = disk.id(&subject.name())?;
        let cached = disk.schema(id)?;
        (canonical(&cached)? == canonical(subject.schema_json)?).then_some(id)
    }

    fn fetch(&self, id: u32) -> Result<Arc<Schema>, SchemaFault> {
        if let Some(text) = self.disk.as_ref().and_then(|disk| disk.schema(id))
            && let Ok(schema) = Schema::parse_str(&text)
        {
            return Ok(Arc::new(schema));
        }
        let client = self.client.clone();
        let text =
            self.wait(async move { client.schema(id).await }).map_err(|fault| match fault {
                Fault::NotFound(_) | Fault::Refused(_) => SchemaFault::UnknownId(id),
                Fault::Unavailable(why) => SchemaFault::Unavailable(why),
            })?;
        let schema = Schema::parse_str(&text).map_err(|error| {
            // Another kind of schema, such as JSON Schema, will never describe an Avro value.
            tracing::warn!(id, %error, "the registry's schema is not Avro");
            SchemaFault::UnknownId(id)
        })?;
        if let Some(disk) = &self.disk {
            disk.put_schema(id, &text);
        }
        Ok(Arc::new(schema))
    }

    fn remember(&self, id: u32, schema_json: &str) {
        if let Ok(schema) = Schema::parse_str(schema_json) {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(id, Arc::new(schema));
        }
        if let Some(disk) = &self.disk {
            disk.put_schema(id, schema_json);
        }
    }

    /// Waits for a call on the runtime without entering it, so that no caller can be in the wrong
    /// place.
    fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The caller may have stopped waiting.
            let _ = sender.send(call.await);
        });
        receiver
            .recv_timeout(WAIT_MAX)
            .unwrap_or_else(|_| Err(Fault::Unavailable("no answer within 30 s".into())))
    }
}

impl SchemaSource for Registry {
    fn writer_schema(&self, id: u32) -> Result<Arc<Schema>, SchemaFault> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(schema) = known {
            return Ok(schema);
        }
        let now = clock::monotonic();
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.retain(|_, since| now.duration_since(*since) < UNKNOWN_FOR);
        if unknown.contains_key(&id) {
            return Err(SchemaFault::UnknownId(id));
        }
        drop(unknown);
        let fetched = self.fetch(id);
        match &fetched {
            Ok(schema) => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(id, schema.clone());
            }
            Err(SchemaFault::UnknownId(_)) => {
                self.unknown.lock().unwrap_or_else(PoisonError::into_inner).insert(id, now);
            }
            Err(SchemaFault::Unavailable(_)) => {}
        }
        fetched
    }
}

/// The id of the version of `subject` that equals `schema_json`, the newest first. `None` when the
/// subject has none.
async fn find_version(
    client: &Client,
    subject: &str,
    schema_json: &str,
) -> Result<Option<u32>, Fault> {
    let ours = canonical(schema_json);
    let latest = match client.version(subject, None).await {
        Ok(latest) => latest,
        Err(Fault::NotFound(_)) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    if canonical(&latest.schema_json) == ours {
        return Ok(Some(latest.id));
    }
    for number in client.versions(subject).await?.into_iter().rev() {
        let version = client.version(subject, Some(number)).await?;
        if canonical(&version.schema_json) == ours {
            return Ok(Some(version.id));
        }
    }
    Ok(None)
}

/// One form for all ways to write a schema: names in full, no white space, but with defaults,
/// logical types and docs, which the specification's canonical form leaves out.
fn canonical(schema_json: &str) -> Option<serde_json::Value> {
    serde_json::to_value(Schema::parse_str(schema_json).ok()?).ok()
}

#[cfg(test)]
mod tests;
