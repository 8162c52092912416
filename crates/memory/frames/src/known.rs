//! Knowledge of frames: their descriptors, refused frees, reports, and the exact check.

pub(crate) mod checked;
pub(crate) mod describe;
pub(crate) mod described;
pub(crate) mod descriptor;
pub(crate) mod faults;
pub(crate) mod report;
pub(crate) mod validate;
