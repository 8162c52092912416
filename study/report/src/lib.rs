//! The results of a study, as files and as a page.
//!
//! A [`Study`] is all that one run measured. It is written as JSON (the whole, read again by `study compare`), as CSV
//! (one line for each sample), as one self-contained HTML page, and as a summary on the terminal. The experiments fill
//! it in and know nothing of how it is shown.
//!
//! | module | owns |
//! |---|---|
//! | [`schema`] | [`Study`] and its parts: the schema of the JSON file, and its version |
#![forbid(unsafe_code)]

pub mod schema;

pub use schema::{
    Bar, Bars, Cell, Column, Comparison, Control, ControlKind, Curve, Ending, Extent, Kind, Machine,
    MemoryMap, Noise, Omission, Point, Series, Study, Table, Tlb, TlbKind,
};
