//! Why this process is not ready, if it is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared register of obstacles. Ready means: none.
#[derive(Clone, Debug, Default)]
pub struct Health {
    obstacles: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Health {
    /// Ready until somebody objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// `subject` is an obstacle, for `reason`.
    pub fn obstruct(&self, subject: impl Into<String>, reason: impl Into<String>) {
        self.lock().insert(subject.into(), reason.into());
    }

    /// `subject` is no obstacle any more.
    pub fn clear(&self, subject: &str) {
        self.lock().remove(subject);
    }

    /// All obstacles, as `subject: reason`.
    pub fn obstacles(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }

    /// True when nothing stands in the way.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
