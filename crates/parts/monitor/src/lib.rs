//! A prompt for a kernel console: line editor, history, completion, commands, filters, and one way to print figures.
//!
//! ```text
//!   bytes ──> keys ──> editor (line, view, history, search, complete) ──┐
//!   bytes ──> batch ────────────────────────────────────────────────────┤ line
//!                                                                       v
//!             monitor ──> command (words, arguments, help, suggest) ──> filter ──> Output
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`monitor`] | [`Monitor`]: a prompt for a person, or a reader of batches |
//! | [`command`] | [`Command`], [`Commands`], [`Alias`]: the words that can be typed |
//! | [`run`] | how a line of commands runs, and how Tab completes it; [`Outcome`] |
//! | [`arguments`] | [`Arguments`]: words as addresses, ranges, sizes, numbers |
//! | [`error`] | [`CommandError`], [`ArgumentError`]: what was wrong |
//! | [`output`] | [`Output`]: where commands print |
//! | [`mod@format`] | meminfo's lines, sizes, tables, hex dumps |
//! | [`editor`], [`keys`], [`complete`] | [`Editor`]: the line editor, also usable alone |
//! | [`batch`] | [`Batch`]: lines without a person |
//! | [`text`] | [`Text`]: a short owned string |
//!
//! Principles:
//! 1. It knows no hardware and no kernel: bytes come in, text goes out, commands act on a context of the caller's.
//! 2. Nothing is allocated, and no input (bytes, lines, arguments) makes it panic.
//! 3. A command's output is for scripts, too: one record a line, the units and names of Linux.
//! 4. A complaint has one form: `name: what was wrong`.
#![no_std]
#![forbid(unsafe_code)]

pub mod arguments;
pub mod batch;
pub mod command;
pub mod complete;
pub mod editor;
pub mod error;
mod filter;
pub mod format;
mod help;
mod history;
pub mod keys;
mod line;
pub mod monitor;
pub mod output;
pub mod run;
mod search;
mod suggest;
pub mod text;
mod view;
mod words;
mod wrap;

pub use arguments::{Address, Arguments};
pub use batch::{Batch, BatchEvent, LineError};
pub use command::{Alias, ChangingCommands, Command, Commands, Complete, Description, Run};
pub use complete::{Candidates, Completer};
pub use editor::{Editor, Event};
pub use error::{ArgumentError, CommandError, Problem};
pub use filter::JUDGED_BYTES;
pub use format::{Align, Column, Human, Table, counter_line, hexdump, meminfo_line};
pub use line::LINE_BYTES;
pub use monitor::{Mode, Monitor, Progress};
pub use output::{Output, write_lines};
pub use run::Outcome;
pub use text::Text;

#[cfg(test)]
mod tests;
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
