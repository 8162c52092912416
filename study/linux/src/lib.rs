//! The direct map of the running Linux kernel.
