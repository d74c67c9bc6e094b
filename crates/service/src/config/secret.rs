//! Values that are never shown.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

/// A secret. It comes from a file or the environment, never from the configuration file, and
/// neither `Debug` nor the printed configuration shows it.
#[derive(Clone)]
pub struct Secret {
    value: SecretString,
    file: Option<PathBuf>,
}

impl Secret {
    /// What is shown instead.
    pub const REDACTED: &'static str = "[redacted]";

    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: SecretString::from(value.into()), file: None }
    }

    /// Reads a file without its trailing line end. The error says what is wrong with the file, to
    /// stand behind the name of the setting.
    pub fn read(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("names {path}, which cannot be read: {error}"))?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(format!("names {path}, which is empty"));
        }
        Ok(Self { file: Some(path.into()), ..Self::new(secret) })
    }

    /// The value itself: hand it over, do not keep or print it.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// What its file holds now, for secrets that are rotated while the process runs.
    pub fn reread(&self) -> Result<Self, String> {
        match &self.file {
            Some(file) => Self::read(&file.to_string_lossy()),
            None => Ok(self.clone()),
        }
    }
}

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.value
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::REDACTED)
    }
}
