//! Handles: what the holder of frames has in its hand, and the number in it.

pub(crate) mod frame;
pub(crate) mod leak;
pub(crate) mod raw;
