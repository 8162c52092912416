//! BPF programs for a kernel: small programs that count and measure where the kernel's own code meets an event.
//!
//! ```text
//!   ELF file ──> Object ──> operations ──> verified ──────────> Program ──> run at an event
//!                  │        decode         one pass, forward       │         no real address
//!                  └──────> maps: arrays, hashes, histograms <─────┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`object`] | [`Object`]: the maps and programs of one file; loading it from ELF or from raw instructions |
//! | `elf` | sections, symbols and relocations, read by the crate `object` |
//! | `source` | a program as it is in a file |
//! | [`operation`] | [`Operation`](operation::Operation): one decoded instruction; what no instruction may be |
//! | `alu` | arithmetic: one function for the verifier and the interpreter |
//! | [`verify`] | the proof that a program reads and writes what it may, and nothing else |
//! | [`program`] | [`Program`]: a verified program; the interpreter |
//! | [`helper`] | [`Helper`](helper::Helper): the functions that a program may call |
//! | [`map`] | [`Map`]: values by key, shared by all CPUs or one for each |
//! | [`show`] | maps as text: counters, bars of a histogram |
//! | [`context`] | [`Context`]: the words that an event tells a program |
//! | `name`, [`limits`] | [`Name`]; how large files and programs may be |
//! | [`error`] | [`LoadError`], [`Refusal`](error::Refusal) |
//! | `assembler` | programs from text, for build scripts and tests (feature `assembler`) |
//!
//! Principles:
//! 1. A program has no real address. A pointer in a register is a region's number and an offset, so a program that the
//!    verifier wrongly let pass still reaches nothing but its stack, its context and its maps.
//! 2. No jump goes backwards: the offset of a decoded jump is unsigned. So each instruction runs once at most, and the
//!    verifier sees all paths in one pass.
//! 3. A run allocates nothing, takes no lock but that of a map that gets a new key, and cannot fail: it returns a number,
//!    or the fault that a check at run time found.
//! 4. All memory is allocated when a file is loaded. Too little memory is an error, and nothing is left of the file then.
//! 5. Safe code throughout.
//!
//! Locking: a map's lock keeps two CPUs from adding the same key twice. All else is atomics.
//!
//! Sources: RFC 9669 (the instruction set); Linux, `kernel/bpf/verifier.c` (register states, spilled registers) and
//! `include/uapi/linux/bpf.h` (numbers of helpers and maps); bpftrace (how histograms look).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "assembler")]
extern crate std;

mod alu;
#[cfg(feature = "assembler")]
pub mod assembler;
pub mod context;
mod elf;
pub mod error;
pub mod helper;
pub mod limits;
pub mod map;
mod name;
pub mod object;
pub mod operation;
pub mod program;
pub mod show;
mod source;
pub mod verify;

pub use context::{Context, Field};
pub use error::LoadError;
pub use map::{Map, MapKind, Part};
pub use name::Name;
pub use object::Object;
pub use program::{Environment, Fault, Program};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
