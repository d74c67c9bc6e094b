//! Lanes: the two priorities that exist from the first topic to the call.

use serde::{Deserialize, Serialize};

/// Which queue a message travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Authentication, utility and service messages. Always drained first.
    Transactional,
    /// Marketing.
    Bulk,
}

impl Lane {
    /// The name used in topic names, labels and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Lane::Transactional => "transactional",
            Lane::Bulk => "bulk",
        }
    }
}

/// Meta's template categories, and service for free-form replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Category {
    /// One-time codes.
    Authentication,
    /// Order updates and the like.
    Utility,
    /// Campaigns.
    Marketing,
    /// Free-form replies inside the customer window.
    Service,
}

impl Category {
    /// Reads the name of a template's category, in Meta's capitals or not.
    pub fn of_template(text: &str) -> Option<Self> {
        [
            ("authentication", Category::Authentication),
            ("utility", Category::Utility),
            ("marketing", Category::Marketing),
        ]
        .into_iter()
        .find_map(|(name, category)| text.eq_ignore_ascii_case(name).then_some(category))
    }

    /// The lane this category belongs to.
    pub const fn lane(self) -> Lane {
        match self {
            Category::Authentication | Category::Utility | Category::Service => Lane::Transactional,
            Category::Marketing => Lane::Bulk,
        }
    }
}
