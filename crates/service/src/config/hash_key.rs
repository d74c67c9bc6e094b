//! The deployment's hash key, as every stage that needs it reads it.

use sendplane_domain::opaque::HashKey;

use super::{Secret, Section};

const KEY: &str = "hash-key-file";

/// Shorter keys can be guessed.
const LEN_MIN: usize = 16;

impl Section<'_> {
    /// The key in the file that `hash-key-file` names. Stages with different keys would not know
    /// each other's contacts and webhooks.
    pub fn hash_key(&mut self) -> HashKey {
        let fix = "name the file with the deployment's hash key; ingest, policy and send have the \
                   same one";
        let key = self.secret_file(KEY, fix);
        self.checked(&key)
    }

    /// As [`Self::hash_key`], but may be absent.
    pub fn hash_key_if_any(&mut self) -> HashKey {
        let key = self.secret_file_if_any(KEY).unwrap_or_default();
        self.checked(&key)
    }

    fn checked(&self, key: &Secret) -> HashKey {
        if !key.expose().is_empty() && key.expose().len() < LEN_MIN {
            let fix = "make it 16 bytes or longer, for example with `openssl rand -hex 32`";
            self.problem(KEY, "names a key that is too short", fix);
        }
        HashKey::new(key.expose())
    }
}
