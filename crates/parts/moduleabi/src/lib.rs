//! The agreement between the kernel and its loadable modules: types with a fixed layout, the functions that the kernel
//! exports, and a version of each.
//!
//! Both sides are built from this crate, at different times. So a module carries the version of each function that it
//! may import, as Linux's modules do, and the kernel refuses one whose versions differ from its own.
//!
//! | module | owns |
//! |---|---|
//! | [`shape`] | [`Shape`](shape::Shape): a hash of a type's name and layout; the macro for structures that have one |
//! | [`types`] | the structures that cross the border |
//! | [`exports`] | [`for_each_export`]: the list of functions |
//! | [`version`] | [`VersionRecord`](version::VersionRecord): a symbol's name and version, as a module carries them |
//!
//! Principles:
//! 1. One list. The kernel makes its table of addresses from it, and the modules' crate makes the declarations.
//! 2. C's calling convention and `repr(C)` only: a module need not come from the kernel's compiler.
//! 3. A version is a hash of the declaration's words and of the layouts of all types in it, to any depth, made while
//!    compiling. A change of a type that keeps its name, size and fields is not seen: then the function gets a new name.
//! 4. No code here runs in the kernel or in a module, but for conversions.
#![no_std]
#![deny(unsafe_code)]

pub mod exports;
pub mod shape;
pub mod types;
pub mod version;

#[cfg(test)]
mod tests;
