//! Which of Meta's two endpoints for sends a call goes to.

use serde::{Deserialize, Serialize};

/// The endpoint of a call. Append-only: stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Route {
    /// `POST /{version}/{phone-number-id}/messages`: everything.
    #[default]
    Messages,
    /// `POST /{version}/{phone-number-id}/marketing_messages`: marketing templates only.
    Marketing {
        /// What Meta does with a message that this endpoint cannot take.
        product_policy: ProductPolicy,
    },
}

/// `product_policy` of the marketing endpoint. Append-only: stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProductPolicy {
    /// `CLOUD_API_FALLBACK`: it goes out over the ordinary endpoint. Meta's default.
    #[default]
    CloudApiFallback,
    /// `STRICT`: it is refused.
    Strict,
}

impl Route {
    /// Last part of the path.
    pub const fn path(self) -> &'static str {
        match self {
            Route::Messages => "messages",
            Route::Marketing { .. } => "marketing_messages",
        }
    }

    /// The policy that the body carries; none on the ordinary endpoint, which does not know it.
    pub const fn product_policy(self) -> Option<ProductPolicy> {
        match self {
            Route::Messages => None,
            Route::Marketing { product_policy } => Some(product_policy),
        }
    }
}

impl ProductPolicy {
    /// Both.
    pub const ALL: [ProductPolicy; 2] = [ProductPolicy::CloudApiFallback, ProductPolicy::Strict];

    /// As Meta writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProductPolicy::CloudApiFallback => "CLOUD_API_FALLBACK",
            ProductPolicy::Strict => "STRICT",
        }
    }

    /// Reads [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}
