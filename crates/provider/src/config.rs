//! Where the API is.

use std::time::Duration;

use reqwest::Url;
use sendplane_domain::limits::CALL_TOTAL_MAX;

/// Where the API is and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Scheme and host, for example `https://graph.facebook.com`.
    pub base_url: String,
    /// Graph version, for example `v25.0`.
    pub version: String,
    /// Longest wait for a connection: name resolution, TCP and TLS.
    pub connect_timeout: Duration,
    /// Longest call, connection and answer included; at most [`CALL_TOTAL_MAX`].
    pub total_timeout: Duration,
    /// How long an idle connection is kept. Short, because a request on a connection that the other
    /// side is just closing is lost and leaves its message in doubt.
    pub pool_idle_timeout: Duration,
}

impl Config {
    /// The defaults: 3 s to connect, 10 s in all, connections idle for 20 s.
    pub fn new(base_url: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            version: version.into(),
            connect_timeout: Duration::from_secs(3),
            total_timeout: CALL_TOTAL_MAX,
            pool_idle_timeout: Duration::from_secs(20),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not an address, or not one of a web server.
    #[error("base url {0:?} is not an http or https address without path, query and user")]
    BaseUrl(String),
    /// Not a Graph version.
    #[error("version {0:?} is not of the form v25.0")]
    Version(String),
    /// A call may not outlive the wait for its intent.
    #[error("a total timeout of {0:?} is more than {CALL_TOTAL_MAX:?}")]
    TotalTimeout(Duration),
    /// TLS or the system's certificates.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

impl Config {
    /// The base address, if everything is in order.
    pub(crate) fn base(&self) -> Result<Url, InvalidConfig> {
        let base = Url::parse(&self.base_url)
            .ok()
            .filter(is_bare)
            .ok_or_else(|| InvalidConfig::BaseUrl(self.base_url.clone()))?;
        if !is_version(&self.version) {
            return Err(InvalidConfig::Version(self.version.clone()));
        }
        if self.total_timeout > CALL_TOTAL_MAX {
            return Err(InvalidConfig::TotalTimeout(self.total_timeout));
        }
        Ok(base)
    }
}

fn is_bare(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

fn is_version(version: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    version
        .strip_prefix('v')
        .and_then(|digits| digits.split_once('.'))
        .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_cannot_work_is_refused() {
        let refused = |config: Config| config.base().unwrap_err();
        for base_url in [
            "",
            "graph.facebook.com",
            "ftp://host",
            "https://host/path",
            "https://u:p@host",
            "http://h?q",
        ] {
            let error = refused(Config::new(base_url, "v25.0"));
            assert!(matches!(error, InvalidConfig::BaseUrl(_)), "{base_url:?}");
        }
        for version in ["", "25.0", "v25", "v25.", "v.0", "v25.0/..", "vx.0"] {
            let error = refused(Config::new("https://host", version));
            assert!(matches!(error, InvalidConfig::Version(_)), "{version:?}");
        }
        let long = Config {
            total_timeout: CALL_TOTAL_MAX + Duration::from_millis(1),
            ..Config::new("https://host", "v25.0")
        };
        assert!(matches!(refused(long), InvalidConfig::TotalTimeout(_)));
    }
}
