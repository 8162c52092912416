//! Tasks' memory, and the kernel's by the same interface: maps whose page tables are their only record.
//!
//! ```text
//!   Map ── allocate, unmap, protect, inherit, region ──lane──┐                       ┌─> rhumb_frames: pages, tables
//!    │ ├── fault ───────────────────────────────stripe───────┴─> words in the tables ┤
//!    │ ├── fork ──────────> Map                                  (Space: task, kernel) └─> rhumb_pagetable: entries,
//!    │ └── copy, take, share ─> MapCopy ──put──> Map                                          batches and tickets of flushes
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `map`, `lanes` | [`Map`]; the two kinds of locks, and the way to a word |
//! | `word` | the state of a page, in its entry; [`Protection`], [`Inherit`], [`Use`] |
//! | `allocate` | [`Allocation`]: empty addresses, found |
//! | `fill`, `cut` | words for all of a range, with the tables that they take; words that cover many pages, divided |
//! | `fault`, `cow` | a page that is used: zeroed, copied, taken over |
//! | `hint` | parts of tables that have words, for a fork and the end |
//! | `protect`, `unmap`, `gone` | changes and ends of pages; the frames and tables that wait for a flush |
//! | `fork`, `copy`, `items` | maps of maps; [`MapCopy`]: the contents of a range as a value |
//! | `device` | [`Device`]: memory that no allocator has |
//! | `wire` | pages that keep their frames, get them beforehand, or give up their contents |
//! | `region` | [`Region`]: what `pmap` shows |
//! | `account` | [`Limits`], [`Usage`] |
//! | `object`, `sheet` | pages that several maps write; where these pages are |
//! | `supply`, `share` | frames for tables and pages and their way back; frames that several words have |
//! | [`space`] | [`Space`]: the tree, the frames and the flushes below a map |
//! | `end`, [`planted`] | the end of a map; faults that the tests plant |
//!
//! # Theory
//!
//! 1. **The page table is the record.** A page's word in the table says whether the page is allocated, what its holder
//!    may do with it, and where its contents are ([`word`](self)). There is no tree of areas beside the table that would
//!    have to be kept, locked and searched: a fault reads one word. Memory that was never used has one word for each
//!    2 MiB or GiB, so that an allocation of a terabyte writes a thousand words.
//! 2. **Two kinds of locks, none for a whole map.** Pages are allocated and unmapped under a *lane*, one of 16 parts of
//!    the addresses. Words change under a *stripe*, one of 32 locks by 2 MiB. A fault takes a stripe alone.
//! 3. **No chains.** A frame that several words have knows their number. A fork or a copy adds one, a write takes a copy
//!    or, where the number is 1, the frame. So nothing grows with the number of forks, and nothing has to be collapsed.
//!    Pages that several maps write are in sheets, which count the words that name them in the same way.
//! 4. **Memory is asked for without a stripe**, and the word is looked at again before it is changed.
//! 5. **Flush before reuse** (I6). Frames and tables that leave a tree are in one value with the batch whose flush they
//!    wait for ([`Gone`]); addresses stay with the holder of their lane until then.
//! 6. **Whole or not at all** (I7, I12). Tables are taken, limits charged and ranges checked before the first word is
//!    written. A copy or a fork that fails after that leaves pages that have to be taken over once more, and nothing
//!    else.
//! 7. **One interface.** A task's map and a part of the kernel's differ in their [`Space`] alone; the test-suite runs on
//!    both.
//!
//! Sources: CortenMM (J. Zhang and others, "Efficient Memory Management with Strong Correctness Guarantees", SOSP 2025):
//! no record beside the page table, and locks by parts of it. Mach (R. Rashid and others, "Machine-Independent Virtual
//! Memory Management for Paged Uniprocessor and Multiprocessor Architectures", 1987): the operations, inheritance, map
//! copies as values. UVM (C. Cranor, "The Design and Implementation of the UVM Virtual Memory System", 1998): counts
//! instead of chains of shadows.
//!
//! Why not a tree of areas with locks for each (Linux's maple tree): it is a second record of what the table says, and
//! all operations write both. Why not locks in each table, as CortenMM has: a stripe is as good until more CPUs fault at
//! once than there are stripes, and no lock has to be found safely in a table that may be going. Why not count pages in
//! use in each table: a table that is empty stays until its 2 MiB are unmapped as a whole or the map ends, so that a
//! page that is mapped and unmapped again and again makes no table each time.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, loom, shuttle))]
extern crate std;

mod account;
mod allocate;
mod copy;
mod cow;
mod cut;
mod device;
mod end;
pub mod error;
mod fault;
mod fill;
mod fork;
mod gone;
mod hint;
mod items;
mod lanes;
mod map;
mod object;
pub mod planted;
mod protect;
mod region;
mod share;
mod sheet;
pub mod space;
mod supply;
mod unmap;
mod wire;
mod word;

pub use account::{Limits, Usage};
pub use allocate::Allocation;
pub use copy::{MapCopy, Refused};
pub use device::Device;
pub use error::{FaultError, Resource, VmError};
pub use fault::Resolved;
pub use gone::{Gone, GoneKey};
pub use map::Map;
pub use region::{Region, RegionKind, Wiring};
pub use space::{Space, TablesKey, UpperTables};
pub use word::{Inherit, Protection, Use};

#[cfg(all(test, shuttle))]
mod models;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
