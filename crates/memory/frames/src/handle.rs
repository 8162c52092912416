//! Handles: the values that prove that their holder may use frames, and the numbers in them.

pub(crate) mod frame;
pub(crate) mod leak;
pub(crate) mod raw;
