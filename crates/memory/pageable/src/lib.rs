//! Pageable kernel memory: zeroed at its first touch, paged out under pressure, and in again when it is needed.
//!
//! ```text
//!   PageableArea: pin, read, write ─┐                        ┌─> Store: slots  (CompressedStore: LZ4, in frames)
//!   page fault ─────────────────────┴─> Pageable: faults ────┤
//!   the allocator is short ───────────> Pageable: evict ─────┴─> rhumb_kernelmap: addresses, tables, flushes
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`pageable`] | [`Pageable`]: all pageable memory of a kernel; areas made and given back |
//! | `fault` | a page that is needed: zeroed, paged in, or there already |
//! | `may_fault` | [`MayFault`]: the right to wait for a page |
//! | `evict`, `hand` | paging out: second chance, one flush for many pages |
//! | [`pin`] | [`Pin`], [`PinMut`]: pages that stay in memory; copies |
//! | `counters`, `report` | figures |
//! | `entry` | the state of a page, in its table entry |
//! | [`store`] | [`Store`], [`Slot`]: where contents go |
//! | [`compressed`] | [`CompressedStore`]: contents in memory, compressed |
//! | [`planted`] | faults that the tests plant |
//! | [`home`] | [`PageHome`]: how a CPU reaches pages, and when it may wait for them |
//!
//! Principles:
//! 1. **The table is the state.** The entry of a page says where its contents are; there is no other record of a page,
//!    so that neither a fault nor paging out takes memory for one (I10).
//! 2. **One CPU moves a page.** An entry that is *busy* is the business of the CPU that made it so. Others wait, with
//!    interrupts on; they answer calls meanwhile.
//! 3. **Flush before the bytes are read** (I6). A page that goes out is absent first, then flushed on all CPUs, then
//!    compressed; its frame is free after that.
//! 4. **Touching is a right.** What may wait for a page takes a [`MayFault`], which is to be had in thread context with
//!    interrupts on.
//!
//! Locking: an entry is changed under one of 64 locks by its address; the store has a lock. Both are leaves, held for a
//! constant number of steps, and never while CPUs are flushed. One CPU at a time pages out.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod compressed;
mod counters;
mod entry;
pub mod error;
mod evict;
mod fault;
mod hand;
pub mod home;
mod may_fault;
pub mod pageable;
pub mod pin;
pub mod planted;
mod report;
pub mod store;
mod turn;

pub use compressed::{CompressedStore, StoreReport};
pub use error::{MakeError, PageError};
pub use home::{PAGE_BYTES, PageBytes, PageHome, RealAddresses};
pub use may_fault::MayFault;
pub use pageable::{Pageable, PageableArea};
pub use pin::{Pin, PinMut};
pub use report::{AreaPages, PageableReport};
pub use store::{Kept, Lost, Slot, Store};

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
