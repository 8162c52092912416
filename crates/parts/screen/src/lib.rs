//! A text screen on a framebuffer.
//!
//! ```text
//!   Description ──> Mode          what the loader says of the framebuffer, checked once
//!
//!   text ──> vte ──> Grid ─────┐                                    ordinary memory
//!                              ├──> differences ──> glyphs ──> VideoMemory
//!                    shown ────┘                                    video memory, written only
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`mode`] | [`Description`], [`Mode`]: size, pitch, place; what is refused |
//! | [`pixel`] | [`PixelFormat`]: from a colour to the bytes of a pixel |
//! | [`colour`] | [`Colour`], [`Style`]: the sixteen colours of a terminal |
//! | [`font`] | [`Font`]: the size of the glyphs, by the size of the screen |
//! | [`cell`] | [`Cell`](cell::Cell): a character with its style |
//! | [`grid`] | [`Grid`](grid::Grid): rows in a ring, the cursor, wrapping, erasing |
//! | `sequences` | escape sequences, parsed by `vte`, applied to the grid |
//! | [`screen`] | [`Screen`]: text in, differences drawn in short steps; [`VideoMemory`] |
//!
//! Principles:
//! 1. Video memory is written and never read: a read takes as long as hundreds of reads of ordinary memory.
//! 2. Text is taken at once and drawn later, in steps of bounded length. A line that has scrolled away before it was
//!    drawn costs nothing.
//! 3. A [`Mode`] proves that its memory is not RAM and that every pixel lies inside it.
//! 4. No text and no half-done change of a screen makes this crate panic: reports of faults come through it.
#![no_std]
#![forbid(unsafe_code)]

pub mod cell;
pub mod colour;
pub mod font;
pub mod grid;
pub mod mode;
pub mod pixel;
pub mod screen;
mod sequences;

pub use colour::{Colour, Style};
pub use font::Font;
pub use mode::{Description, Mode, ModeError};
pub use pixel::{Channel, PixelError, PixelFormat};
pub use screen::{Progress, Screen, VideoMemory};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
