//! Executable memory: code that comes and goes in a running kernel, with its read-only and its writable data.
//!
//! ```text
//!   a range of addresses near the kernel's image, in blocks of one 2-MiB page each:
//!   | code       r-x | code       r-x | read-only   r-- | data       rw- | nothing is mapped ...
//!     part part trap   part trap ...     part part 0       part part
//!
//!   a change of a block that is not writable:
//!     block ──> frames A, which CPUs read and run          spare: frames B, which one CPU at a time writes by windows
//!       1  B := A, with the change      2  no window on B is left      3  block ──> B, one store
//!       4  every CPU flushes and serialises                            5  A is the spare
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`pool`] | [`CodePool`]: its addresses, and whose part an address lies in |
//! | `allocate`, `write`, `free` | what it is for |
//! | `rewrite` | the change of a block that is not writable: the picture above |
//! | `grow`, `room` | blocks that come and go; room for records |
//! | [`home`] | [`Home`]: what the pool asks of its kernel |
//! | [`changes`] | the frames behind the blocks, and the spare ones: with the turn to change |
//! | [`index`] | whose part an address lies in: with a lock that is held for short |
//! | `block` | the parts of one block in the order of their addresses |
//! | [`kind`], [`request`], [`part`] | [`Kind`]; [`Request`]; [`Part`], the handle |
//! | [`error`] | why the pool refuses |
//! | [`report`], [`mod@validate`] | figures for people; the exact check |
//! | [`size`], `pages`, `failing` | sizes; sets of pages of a block; lists that fail on purpose, in tests |
//! | [`planted`] | faults that tests inject |
//!
//! Principles:
//! 1. **Never writable and executable** (I4). The pool writes frames only while no address of any CPU leads to them,
//!    through windows that one CPU sees, and maps them only after the last window is gone from that CPU's TLB.
//! 2. **Code runs on while other code changes.** The frames before and after a change say the same in every part that
//!    stays, so a CPU may use either until it has flushed. The old frames are written only after that (I6).
//! 3. **What is free traps.** Free bytes of code blocks are `int3`: see [`Kind::fill`].
//! 4. **All or nothing** (I7, I12). A request takes the frames and the memory that it needs before its first write, or
//!    fails. Writing and freeing need neither, because the spare frames are there, so they cannot fail for want of them.
//! 5. **Large pages stay large.** Whole blocks of 2 MiB leave the direct map, however many parts they have.
//!
//! Locking: one *turn* for changes, which are rare and take a hundred microseconds and more, with interrupts on; and the
//! index's lock, which changes take within their turn, and reports alone, for a bounded number of steps.
//!
//! Sources: Linux's `bpf_prog_pack` (S. Liu, 2022), where many programs share a large page; `text_poke`, which writes
//! through a mapping of one CPU; the manuals on cross-modifying code (SDM volume 3, 9.1.3; APM volume 2, 7.6).
//!
//! Why not a window onto the frames that CPUs execute, as `text_poke` has: they would be writable on the CPU with the
//! window and executable on all others. Why not 4-KiB pages: each module would split two large pages, of the direct map
//! and of the pool.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod allocate;
mod block;
pub mod changes;
pub mod error;
mod failing;
mod free;
mod grow;
pub mod home;
pub mod index;
pub mod kind;
mod pages;
pub mod part;
pub mod planted;
pub mod pool;
pub mod report;
pub mod request;
mod rewrite;
mod room;
pub mod size;
pub mod validate;
mod write;

pub use changes::Changes;
pub use error::{CodeError, NoFrames, Refused};
pub use home::{BlockPlace, DataPlace, Home};
pub use index::Index;
pub use kind::Kind;
pub use part::{Part, PartInfo, PartName};
pub use pool::CodePool;
pub use report::{KindReport, Report};
pub use request::Request;
pub use size::{BLOCK_BYTES, GRANULE_BYTES, PAGE_BYTES, PageBytes};
pub use validate::Inconsistency;
pub use write::Write;

#[cfg(test)]
mod tests;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
