//! The ingest binary's parts: today the webhook [`gateway`]. The stage is `sendplane_stages::ingest`.

pub mod gateway;
