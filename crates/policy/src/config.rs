//! `[policy]`.
//!
//! | key | default | |
//! |---|---|---|
//! | `hash-key-file` | | the deployment's hash key |

use sendplane_service::config::Section;
use sendplane_stages::policy::PolicySettings;

/// Reads `[policy]`.
pub fn read(root: &mut Section<'_>) -> PolicySettings {
    root.section("policy", |section| PolicySettings { hash_key: section.hash_key() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sendplane_domain::opaque::HashKey;
    use sendplane_service::config::Config;

    use super::*;

    fn load(own: &str, key: &str) -> Result<Config<PolicySettings>, String> {
        let dir = tempfile::tempdir().unwrap();
        let (file, key_file) = (dir.path().join("policy.toml"), dir.path().join("key"));
        std::fs::write(&key_file, key).unwrap();
        let own = own.replace("DIR", &dir.path().display().to_string());
        let text = format!(
            "instance.id = 'i'\nregistry.url = 'http://r'\n\
             kafka.properties.\"bootstrap.servers\" = 'b:1'\n{own}"
        );
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), &BTreeMap::new(), read).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_hash_key_is_needed_and_never_printed() {
        let key = "0123456789abcdef";
        let own = "[policy]\nhash-key-file = 'DIR/key'";
        let config = load(own, &format!("{key}\n")).unwrap();
        let expected = HashKey::new(key).hash("contact", "+4915112345678");
        assert_eq!(config.own.hash_key.hash("contact", "+4915112345678"), expected);
        assert!(!config.print().contains(key) && !format!("{config:?}").contains(key));

        let missing = load("", key).unwrap_err();
        assert!(missing.contains("policy.hash-key-file is missing"), "{missing}");
        let short = load(own, "x").unwrap_err();
        assert!(short.contains("policy.hash-key-file names a key that is too short"), "{short}");
    }
}
