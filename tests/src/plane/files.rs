//! The files of a plane: secrets, tenants, templates, metasim's account, a configuration per stage.

use super::Plane;

/// Templates of every tenant: (name, category, variables in the form of the operator's file).
const TEMPLATES: [(&str, &str, &str); 3] = [
    ("order_confirmed", "utility", "2"),
    ("order_shipped", "utility", "[order_id, carrier]"),
    ("season_sale", "marketing", "1"),
];

impl Plane {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir().join(name), text).expect("a temp file");
    }

    /// What exists before anything runs.
    pub(super) fn write_account(&self) {
        self.write("app-secret", "metasim-app-secret");
        self.write("verify-token", "metasim-verify-token");
        self.write("access-token", "metasim-token");
        self.write("hash-key", "a hash key for tests, 32 bytes.!");
        let mut tenants = String::from("tenants:\n");
        let mut templates = String::from("templates:\n");
        let mut numbers = String::new();
        for (tenant, number, rate) in &self.setup.tenants {
            numbers.push_str(&format!(
                "[[phone_numbers]]\nid = \"{number}\"\ndisplay_number = \"15550001111\"\nwaba_id = \
                 \"200000000000001\"\nthroughput_per_second = {rate}\n"
            ));
            tenants.push_str(&format!(
                "  - tenant: {tenant}\n    name: {tenant}\n    credential: default\n    \
                 default-phone-number-id: \"{number}\"\n    phone-numbers:\n      - \
                 phone-number-id: \"{number}\"\n        waba-id: \"200000000000001\"\n        \
                 display-number: \"+15550001111\"\n        messages-per-second: {rate}\n"
            ));
            for (name, category, variables) in TEMPLATES {
                templates.push_str(&format!(
                    "  - {{tenant: {tenant}, name: {name}, language: en_US, category: {category}, \
                     variables: {variables}}}\n"
                ));
            }
        }
        self.write("tenants.yaml", &tenants);
        self.write("templates.yaml", &templates);
        self.write("metasim.toml", &numbers);
    }

    /// Needs metasim's port.
    pub(super) fn write_stage_configs(&self) {
        let dir = self.dir().display();
        let doubt_window_ms = self.setup.doubt_window.as_millis();
        let common = format!(
            "[kafka.properties]\n\"bootstrap.servers\" = \"{}\"\n[registry]\nurl = \"{}\"\n\
             [runtime]\nsession-timeout-ms = {}\n\
             transaction-timeout-ms = 5000\n[log]\nformat = \"json\"\n",
            self.setup.stack.bootstrap,
            self.setup.stack.registry,
            self.setup.session.as_millis(),
        );
        let ingest = format!(
            "[ingest]\nrole = \"both\"\nhash-key-file = \"{dir}/hash-key\"\n[ingest.gateway]\n\
             listen = \"127.0.0.1:{}\"\n[[ingest.apps]]\nname = \"demo\"\n\
             secret-file = \"{dir}/app-secret\"\nverify-token-file = \"{dir}/verify-token\"\n",
            self.gateway_port
        );
        let policy = format!("[policy]\nhash-key-file = \"{dir}/hash-key\"\n");
        let send = format!(
            "[send]\nhash-key-file = \"{dir}/hash-key\"\nprovider-url = \"http://127.0.0.1:{}\"\n\
             api-version = \"v23.0\"\ndoubt-window-ms = {doubt_window_ms}\n\
             [send.credentials.default]\ntoken-file = \"{dir}/access-token\"\n",
            self.metasim_port,
        );
        let reconcile = format!("[status-reconcile]\ndoubt-window-ms = {doubt_window_ms}\n");
        self.write("ingest.toml", &format!("{common}{ingest}"));
        self.write("policy.toml", &format!("{common}{policy}"));
        self.write("send.toml", &format!("{common}{send}"));
        self.write("status-reconcile.toml", &format!("{common}{reconcile}"));
    }
}
