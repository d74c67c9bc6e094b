//! The limits, as exactly as the model counts them.
//!
//! | limit | counted | above it |
//! |---|---|---|
//! | throughput | accepted and inbound messages of a number in `(t - 1 s, t]` | 130429 |
//! | pair | messages of a number to a recipient, see [`crate::PairModel`] | 131056 |
//! | portfolio | users with a message outside a service window in `(t - 24 h, t]`, over all numbers of a portfolio; a user who counts already is free | configured: Meta documents no code |
//! | marketing per user | marketing templates to a user outside a service window, over all numbers, in a rolling window | 131049 |
//! | pacing | messages of a template since it was new or last paused | held, then released or 132015 |
//! | app, account | calls that were not refused, in a rolling window | 4, 80007 |
//!
//! Windows are half-open: what happened exactly one width ago has left. Only accepted messages
//! count, so a refused call costs nothing later. A recipient addressed by number and by user id is
//! two users. Recipients of the test range ([`crate::magic`]) count and are refused like others at
//! the limits a caller can compute (throughput, pair, portfolio, calls); pacing, the marketing cap
//! and lifetimes leave their fixed results alone.
//!
//! Throughput levels: 80 per second (`STANDARD`), 1,000 after an upgrade (`HIGH`), 20 for
//! coexistence numbers. During an upgrade the number answers 131057, then the level is the new one
//! and Meta says so by `phone_number_quality_update`.

mod marketing;
mod pacing;
mod pair;
mod portfolio;
mod unique;
mod window;

pub(crate) use marketing::Marketing;
pub(crate) use pacing::{Held, TemplatePacing};
pub(crate) use pair::Pair;
pub use pair::SERVICE_WINDOW_MS;
pub(crate) use portfolio::{Full, Portfolio};
pub use window::WINDOW_MS;
pub(crate) use window::Window;

/// Messages per second of a number shared with the WhatsApp Business app.
pub const THROUGHPUT_COEXISTENCE: u32 = 20;
/// Messages per second of an ordinary number.
pub const THROUGHPUT_STANDARD: u32 = 80;
/// Messages per second of an upgraded number.
pub const THROUGHPUT_HIGH: u32 = 1_000;
