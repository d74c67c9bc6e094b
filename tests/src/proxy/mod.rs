//! A TCP proxy between clients and brokers that knows the Kafka protocol well enough to delay, cut,
//! hold or lose chosen requests.
//!
//! Clients stay on it because the brokers advertise its addresses on a listener of their own
//! (`stack up --proxied`): what a client learns from Metadata and FindCoordinator leads back here.

mod connection;
mod fault;
mod frame;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::Arc;

pub use fault::{Action, Answer, Fault, Match};
pub use frame::{Api, Request, read_frame};

use fault::Rules;

/// Where the proxy of one broker listens and what it forwards to, as host:port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address the broker advertises: the proxy's.
    pub listen: String,
    /// The broker's own address.
    pub broker: String,
}

/// A running proxy. It ends with the process.
#[derive(Debug)]
pub struct Proxy {
    rules: Arc<Rules>,
}

impl Proxy {
    /// Listens for all `routes`.
    pub fn start(routes: &[Route]) -> Self {
        let rules = Arc::new(Rules::default());
        for route in routes {
            let listener = TcpListener::bind(&route.listen).unwrap_or_else(|error| {
                panic!("the proxy cannot listen on {}: {error}", route.listen)
            });
            let (rules, broker) = (rules.clone(), route.broker.clone());
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    connection::serve(client, &broker, &rules);
                }
            });
        }
        Self { rules }
    }

    /// From now on the requests that match meet `action`, until the fault is dropped. Of several
    /// faults a request meets the oldest.
    pub fn fault(&self, matching: Match, action: Action) -> Fault {
        self.rules.add(matching, action)
    }
}
