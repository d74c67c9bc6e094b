//! What every process around the stages needs: configuration, registry, probes, logs, signals.
//!
//! Reading order: [`config`], [`run`] (the body of a binary), [`registry`], [`admin`],
//! [`telemetry`], [`clock`].
//!
//! **Architecture invariant:** the environment is read in [`config`] and the clock in [`clock`],
//! nowhere else outside the runtime.

pub mod admin;
pub mod clock;
pub mod config;
pub mod registry;
pub mod run;
pub mod telemetry;
