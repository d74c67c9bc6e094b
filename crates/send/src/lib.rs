//! What the send binary adds to its stage: the calls.

pub mod runner;
