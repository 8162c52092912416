//! What a CPU keeps for itself, what fills it, and what empties it.

pub(crate) mod cache;
pub(crate) mod drain;
pub(crate) mod refill;
