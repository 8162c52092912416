//! The direct map of the running Linux kernel: the holders that break it, and the cost of a broken map.
//!
//! | module | owns |
//! |---|---|
//! | [`who`] | the holders of secret memory now, what they block, and all else that breaks the map |
//! | [`proc`] | texts of `/proc` and `/sys`, parsed |
//! | [`secret`] | `memfd_secret(2)` |
//! | [`error`] | reasons for which a study ends without a result |
#![deny(unsafe_code)]

pub mod error;
pub mod proc;
pub mod secret;
pub mod who;

pub use error::Error;
