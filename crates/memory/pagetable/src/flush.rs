//! Dropping what CPUs have cached of tables that changed, in one round for many changes.
//!
//! ```text
//!   change entries ──> FlushBatch: pages, tables ──flush──> one local flush, one round of interrupts ──> done
//!        ...      ──>  (merged where they touch)              │ lazy CPUs: a mark instead                    │
//!                                                             v                                              v
//!                                              LazyCpu: flushes when it wakes            frames and tables may be reused
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`batch`] | [`FlushBatch`]: the set of changed pages that one flush covers |
//! | [`rounds`] | [`Rounds`]: flushes of several CPUs that meet, made together in one round |
//! | [`stats`] | [`FlushStats`]: how much a flush dropped |
//! | [`ticket`] | [`Unflushed`], [`Flushed`]: memory that waits for a flush, and the ticket by which it comes out |
//! | [`counters`] | [`FlushCounters`]: flushes, interrupts and pages, by [`FlushCause`] |
//! | [`lazy`] | [`LazyCpu`]: a CPU that idles is left alone and catches up |
//! | [`mod@sequence`] | [`Sequence`]: which instructions drop it, by what the CPU has |
//!
//! Order: first the entries are changed, then the batch is flushed, then the memory that they referred to is reused. A
//! CPU may read an entry at any time before, on speculation, and hold it until the flush. A batch by itself proves
//! nothing. Tables that wait for a flush own its batch, and come out by that flush alone (I6): an [`Unflushed`].

pub mod batch;
pub mod counters;
pub mod lazy;
pub mod rounds;
pub mod sequence;
pub mod stats;
pub mod ticket;

pub use batch::{FLUSH_PAGES_MAX, FlushBatch};
pub use counters::{FlushCause, FlushCounters, FlushCounts};
pub use lazy::{LazyCpu, MarkLeft, Woken};
pub use rounds::Rounds;
pub use sequence::{FlushFeatures, Sequence, sequence};
pub use stats::FlushStats;
pub use ticket::{Flushed, Unflushed, Waiting};

#[cfg(all(test, any(loom, shuttle)))]
mod models;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
