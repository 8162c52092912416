//! The results of a study, as files and as a page.
//!
//! A [`Study`] is all that one run measured. It is written as JSON (the whole, read again by `study compare`), as CSV
//! (one line for each sample), as one self-contained HTML page, and as a summary on the terminal. The experiments fill
//! it in and know nothing of how it is shown.
//!
//! | module | owns |
//! |---|---|
//! | [`schema`] | [`Study`] and its parts: the schema of the JSON file, and its version |
//! | [`files`] | [`write()`] and [`read`]: whole files or none |
//! | [`verdict`](mod@verdict) | the answer in two sentences, and the reasons to distrust it |
//! | [`terminal`] | the summary on a terminal |
//! | [`compare`](mod@compare) | several studies beside each other |
//! | `page` | the HTML page |
//! | [`format`](mod@format) | numbers, sizes, times and ratios as a reader wants them |
#![forbid(unsafe_code)]

pub mod compare;
mod conditions;
mod error;
pub mod files;
pub mod format;
pub mod names;
mod page;
pub mod schema;
pub mod terminal;
pub mod verdict;

#[cfg(test)]
mod samples;

/// The page of the crate, whose example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use compare::{Compared, compare};
pub use error::Error;
pub use files::{Written, read, write};
pub use schema::{
    Bar, Bars, Cell, Column, Comparison, Control, ControlKind, Curve, Ending, Extent, Kind, Machine,
    MemoryMap, Noise, Omission, Point, Series, Study, Table, Tlb, TlbKind,
};
pub use terminal::{Screen, shows_nothing, summary, visible};
pub use verdict::{Verdict, verdict};
