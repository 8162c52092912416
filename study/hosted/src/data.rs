//! A kernel's data, in a memory that an arm backs.
//!
//! | module | owns |
//! |---|---|
//! | [`radix`] | trees from a number to an address: a file's pages, identifiers |
//! | [`hash`] | tables with chains |
//! | [`world`] | all data of one arm, built alike in each |
//!
//! All of it is reached as a kernel reaches it: an address in memory leads to the next, at base plus physical address.

pub(crate) mod hash;
pub(crate) mod radix;
pub(crate) mod world;

#[cfg(test)]
mod tests;
