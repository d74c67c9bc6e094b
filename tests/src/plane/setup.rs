//! How a plane differs from the usual one.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{DOUBT_WINDOW, PARTITIONS, Plane, SESSION, TENANTS};
use crate::stack::{self, Stack};

/// Settings of a [`Plane`]; the default is what most tests want.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Brokers and registry.
    pub stack: &'static Stack,
    /// Replicas of every topic.
    pub replication: u32,
    /// Instances of every stage that [`Plane::start_with`] starts.
    pub instances: Vec<String>,
    /// How long a doubt waits for evidence, in send and in status-reconcile.
    pub doubt_window: Duration,
    /// Group session timeout.
    pub session: Duration,
    /// Environment of every stage process: `("SENDPLANE__RUNTIME__THREADS", "2")`.
    pub settings: Vec<(String, String)>,
    /// Tenants, each with one number at metasim: (tenant, phone number id, messages per second).
    pub tenants: Vec<(String, String, u32)>,
    /// Whether metasim posts webhooks to the gateway; otherwise it discards them.
    pub webhooks: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::on(stack::shared())
    }
}

impl Setup {
    /// The usual setup on this stack.
    pub fn on(stack: &'static Stack) -> Self {
        Self {
            stack,
            replication: 1,
            instances: vec!["a".to_owned()],
            doubt_window: DOUBT_WINDOW,
            session: SESSION,
            settings: Vec::new(),
            tenants: TENANTS
                .map(|(tenant, number, rate)| (tenant.into(), number.into(), rate))
                .into(),
            webhooks: true,
        }
    }
}

/// The planes of a test binary use the same consumer groups: one at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plane {
    /// Topics and schemas, once per stack and test binary; tenants and templates, each time.
    pub(super) fn prepare_stack(&self) {
        static PREPARED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let mut prepared = PREPARED.lock().unwrap_or_else(PoisonError::into_inner);
        if !prepared.contains(&self.setup.stack.bootstrap) {
            let partitions = PARTITIONS.to_string();
            let replication = self.setup.replication.to_string();
            let counts = ["--partitions", &partitions, "--replication", &replication];
            self.cli(&[&["topics", "apply"][..], &counts].concat());
            self.cli(&["schemas", "register"]);
            prepared.insert(self.setup.stack.bootstrap.clone());
        }
        let file = |name: &str| self.dir().join(name).display().to_string();
        self.cli(&["tenants", "apply", &file("tenants.yaml")]);
        self.cli(&["templates", "apply", &file("templates.yaml")]);
    }
}
