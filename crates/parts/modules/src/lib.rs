//! The loader of kernel modules: a relocatable ELF object goes in, whatever its bytes are; contents for three kinds of
//! pages come out, or one sentence that says why not.
//!
//! ```text
//!          Image::parse                          Image::link
//! file ------------------> sections by part  ------------------> bytes of each part, for these addresses
//!        every offset         code        read, executed         each import has an address and the version
//!        is checked           read-only   read                   that the module was built against
//!                             data        read, written
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`image`] | [`Image`]: the object, looked at once |
//! | [`layout`] | [`Layout`]: which section goes where |
//! | [`part`] | [`Part`]: kinds of pages; limits |
//! | [`imports`] | [`Exports`]: what a module may call; the versions that it carries |
//! | `names` | names in the file, read and shown up to a limit |
//! | [`relocate`] | the arithmetic of relocations |
//! | [`link`] | [`Image::link`]: all of it together |
//! | [`error`] | [`LoadError`] |
//!
//! Principles:
//! 1. No byte of the file is believed. [`Image::parse`] checks all that [`Image::link`] walks; no name is
//!    read further than a limit, and all tables of relocations together are no longer than the file, so that the time is
//!    proportional to its length, whatever it says.
//! 2. All or nothing: imports are checked before the first byte is written, and the buffers are the caller's own until the
//!    caller makes pages of them.
//! 3. No allocation, no lock, no `unsafe`: the crate does not know where the parts will lie until it is told.
//! 4. A section has one part, and no part is written and executed (I4): an object that wants such a section is refused.
//!
//! Sources: the System V ABI, and its AMD64 supplement, table 4.9; Linux's `Documentation/kbuild/modules.rst` for versions.
//!
//! Why not the shared objects that a linker makes ready for a run: those want a dynamic linker's tables, keep their parts
//! at fixed distances, and so could not take part in a pool that has code of all modules on one large page.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod error;
pub mod image;
pub mod imports;
pub mod layout;
mod link;
mod names;
pub mod part;
mod relocate;

pub use error::LoadError;
pub use image::Image;
pub use imports::{Export, Exports};
pub use layout::Layout;
pub use link::Linked;
pub use part::Part;

#[cfg(test)]
mod tests;
