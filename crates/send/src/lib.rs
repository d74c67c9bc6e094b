//! What the send binary adds to its stage: the calls, and the tokens they are made with.

pub mod credentials;
pub mod runner;
