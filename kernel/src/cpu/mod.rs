//! CPUs: what belongs to one, and what they do to each other.
//!
//! | module | owns |
//! |---|---|
//! | [`area`] | what belongs to one CPU, reached through the GS base |
//! | [`start`], [`trampoline`] | starting the others, and setting up each |
//! | [`switch`] | giving a CPU from one thread to another |
//! | [`stacks`] | where the stacks of each CPU lie |
//! | [`online`](mod@online) | which CPUs run |
//! | [`controls`] | whether each has the control registers that boot decided on |
//! | [`call`], [`work`] | calls from one CPU to others: in an interrupt, and in ordinary context |
//! | [`serialise`] | instruction streams of all CPUs made new |
//! | [`tlb`] | flushes, here and on others; the laziness of a CPU that idles |
//! | [`root`] | the tree of page tables that all load |
//! | [`machine`], [`lock`] | this hardware as the memory crates see it; the kernel's lock |
//! | [`clock`] | time, and alarms |
//! | [`preempt`] | where the scheduler is called |
//! | [`once`] | places that boot fills once |
//! | [`probe`], [`user`], [`backtrace`] | touching what may not be there; memory of programs; the chain of callers |
//! | [`trace`], [`reasons`] | where the memory system tells of events; numbers for the texts of reasons |
//! | [`irqsoff`], [`kasan`] | the tracer of interrupts off and the checker of accesses, in kernels built with them |

pub mod area;
pub mod backtrace;
pub mod call;
pub mod clock;
pub mod controls;
pub mod irqsoff;
#[cfg(feature = "kasan")]
pub mod kasan;
#[cfg(not(feature = "kasan"))]
#[path = "kasan/absent.rs"]
pub mod kasan;
pub mod lock;
pub mod machine;
pub mod once;
mod online;
pub mod preempt;
pub mod probe;
pub mod reasons;
pub mod root;
pub mod serialise;
pub mod stacks;
pub mod start;
pub mod switch;
pub mod tlb;
pub mod trace;
pub mod trampoline;
pub mod user;
pub mod work;

pub use online::{online, online_count};
