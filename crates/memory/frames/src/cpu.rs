//! A CPU's own caches, their refill, and their drain.

pub(crate) mod cache;
pub(crate) mod drain;
pub(crate) mod refill;
