//! Moving what can be moved: compaction, and ranges that are wanted as a whole.

pub(crate) mod compact;
