//! The crate that a loadable module is written with: [`module!`], and safe functions for all that a module may call.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use rhumb_module::{Arguments, Failure, Output, module};
//!
//! module! {
//!     description: "Says hello.",
//!     commands: [
//!         { name: "hello", usage: "[NAME]", summary: "a greeting", help: "", run: hello },
//!     ],
//! }
//!
//! fn hello(mut arguments: Arguments<'_>, out: &mut Output<'_>) -> Result<(), Failure> {
//!     out.line(format_args!("hello, {}", arguments.next().unwrap_or("world")));
//!     Ok(())
//! }
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`declare`] | [`module!`], and what it rests on |
//! | [`command`] | [`Arguments`], [`Output`], [`Failure`]: a command and its surroundings |
//! | [`frames`] | [`Block`]: blocks of frames; [`node_memory`]: the state of a node's memory |
//! | [`heap`] | `Box` and `Vec` on the kernel's object caches |
//! | [`log`] | [`error!`], [`warn!`], [`info!`], [`debug!`] |
//! | [`imports`] | the declarations of the kernel's functions, and their versions |
//!
//! Principles:
//! 1. A module needs no `unsafe`. The `unsafe` of this crate rests on the contract of each export: see
//!    `rhumb_module_abi::exports`.
//! 2. All that a module holds is a value whose drop gives it back: a block, a hold on the module, an object.
//! 3. A panic stops the kernel, with a report that names the module.
#![no_std]

pub extern crate alloc;

pub mod command;
pub mod declare;
pub mod frames;
mod heap;
mod hold;
mod imports;
pub mod log;
mod panic;
mod text;

pub use command::{Arguments, Failure, Output};
pub use frames::{ANY_NODE, Block, NodeMemory, ORDERS, node_count, node_memory};
pub use hold::Hold;

/// Returns the time since the kernel's first instruction.
pub fn now_ns() -> u64 {
    // SAFETY: it takes nothing, and any code may call it.
    unsafe { imports::rhumb_now_ns() }
}
