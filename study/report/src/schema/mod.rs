//! The schema of a study's JSON file. The page `SCHEMA.md` of this crate is made of the comments here.
//!
//! Times are seconds or nanoseconds, sizes are bytes, effects are ratios, as the names of the fields say. A reader must
//! accept fields that it does not know: a new field does not change [`VERSION`]. A field whose meaning changes, or that
//! goes, does.

pub(crate) mod check;
mod comparison;
mod figures;
mod fill;
mod machine;
mod number;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, Control, ControlKind};
pub use figures::{Bar, Bars, Cell, Column, Curve, Extent, MemoryMap, Point, Series, Table};
pub use machine::{Machine, Noise, Tlb, TlbKind};

/// The name by which a file says that it holds a study.
pub const SCHEMA: &str = "rhumb-study";

/// The version of the schema that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The subject of a study.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The direct map of the running Linux kernel, whole and broken.
    Linux,
    /// The holders that break the running kernel's map.
    Who,
    /// Rhumb's memory core in a process.
    Hosted,
    /// The Rhumb kernel in QEMU.
    Kernel,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Linux => "linux",
            Self::Who => "who",
            Self::Hosted => "hosted",
            Self::Kernel => "kernel",
        })
    }
}

/// How a study ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All that was planned was measured, or is named in [`Study::omissions`].
    Whole,
    /// The user or the system ended the study: the reason. The file has what was measured until then.
    Interrupted(String),
}

/// A part of the study that was left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Omission {
    /// The part: "huge pages of 1 GiB".
    pub part: String,
    /// The missing thing, in one sentence.
    pub why: String,
    /// How to get it, in one sentence.
    pub remedy: String,
}

/// All that one run measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Study {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`VERSION`] of the program that wrote the file.
    pub version: u32,
    /// The program and its version.
    pub program: String,
    /// The subject.
    pub kind: Kind,
    /// The command line.
    pub command: Vec<String>,
    /// When the study began, in seconds since 1970, UTC.
    pub began_unix_s: u64,
    /// How long it took.
    pub took_s: f64,
    /// Where its random orders began.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// The machine.
    pub machine: Machine,
    /// The machine's noise, measured before the rest; `None` where nothing was timed.
    pub noise: Option<Noise>,
    /// The built-in controls. If one failed, the comparisons prove nothing.
    pub controls: Vec<Control>,
    /// The comparisons, in the order in which they are shown.
    pub comparisons: Vec<Comparison>,
    /// Values over a number, such as the time of a page over busy CPUs.
    pub curves: Vec<Curve>,
    /// Values by name, each of one part or several.
    pub bars: Vec<Bars>,
    /// Physical memory by page size.
    pub maps: Vec<MemoryMap>,
    /// All that is best read as a table.
    pub tables: Vec<Table>,
    /// Parts that were left out.
    pub omissions: Vec<Omission>,
    /// Sentences that a reader needs to judge the figures.
    pub notes: Vec<String>,
}
