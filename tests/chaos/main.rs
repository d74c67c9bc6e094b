//! The plane under faults, on real brokers.
//!
//! Every test runs a plane under load, breaks it in some way, and lets the verifier compare what
//! was asked for with everything that is left behind (`sendplane_tests::verify`). The short tests
//! belong to `cargo test`; the whole matrix, ignored there as long, is `make chaos`.

mod broker;
mod combined;
mod kill;
mod provider;
mod registry;
mod scale;
mod zombie;

use std::time::Duration;

use sendplane_tests::plane::Setup;

/// Two instances of every stage, and times as short as the machine allows.
fn two_instances() -> Setup {
    Setup {
        instances: vec!["a".to_owned(), "b".to_owned()],
        doubt_window: Duration::from_secs(5),
        session: Duration::from_secs(4),
        ..Setup::default()
    }
}
