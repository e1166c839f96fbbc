//! What keyed hashes are keyed with.
#![forbid(unsafe_code)]

use ahash::RandomState;

/// The key of a hash that nobody outside may foresee. The hash is no MAC.
#[derive(Clone, Copy)]
pub struct Seed([u64; 4]);

impl Seed {
    /// The seed made of these bytes, which must come from a random number generator: whoever knows them
    /// can choose names that collide.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(zerocopy::transmute!(bytes))
    }

    /// The hash under this seed.
    pub(crate) const fn hasher(self) -> RandomState {
        let Self([a, b, c, d]) = self;
        RandomState::with_seeds(a, b, c, d)
    }
}
