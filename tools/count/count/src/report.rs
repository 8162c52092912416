//! [`Report`]: what was counted, and its text, which the counter's process writes and the tool's reads.
//!
//! ```text
//! rhumb-count 1
//! region 7
//! sample CPU INSTRUCTIONS ITERATIONS ELSEWHERE-INSTRUCTIONS ELSEWHERE-ITERATIONS READS WRITES CODE-LINES DATA-LINES
//! place here ADDRESS INSTRUCTIONS ITERATIONS
//! place elsewhere ADDRESS INSTRUCTIONS ITERATIONS
//! fault not-ended CPU REGION
//! end
//! ```
//!
//! Addresses are hexadecimal. Samples are in the order in which their regions ended; places add up all samples of a
//! region. A text without its last line is one of a process that was killed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::str::{FromStr, SplitWhitespace};

use rhumb_mark::RegionId;

const HEAD: &str = "rhumb-count 1";
const TAIL: &str = "end";

/// Instructions, and iterations of string instructions beyond them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Executed {
    /// Instructions: a repeated string instruction is one.
    pub instructions: u64,
    /// Iterations of repeated string instructions.
    pub iterations: u64,
}

impl Executed {
    /// One instruction.
    pub const INSTRUCTION: Self = Self { instructions: 1, iterations: 0 };
    /// One iteration.
    pub const ITERATION: Self = Self { instructions: 0, iterations: 1 };

    /// Returns the count of an emulator that counts each iteration as an instruction.
    pub const fn steps(self) -> u64 {
        self.instructions + self.iterations
    }
}

impl AddAssign for Executed {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.iterations += other.iterations;
    }
}

/// One run through a region.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sample {
    /// The CPU that executed the marks.
    pub cpu: usize,
    /// The work of that CPU.
    pub here: Executed,
    /// The work of the other CPUs meanwhile.
    pub elsewhere: Executed,
    /// Loads by instructions; 0 where memory was not watched.
    pub reads: u64,
    /// Stores by instructions.
    pub writes: u64,
    /// Distinct cache lines that instructions came from.
    pub code_lines: u64,
    /// Distinct cache lines that were loaded or stored.
    pub data_lines: u64,
}

/// On which side of a region something executed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// On the CPU on which it is open.
    Here,
    /// On another CPU.
    Elsewhere,
}

/// An instruction of a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Where it executed.
    pub side: Side,
    /// The instruction's address.
    pub address: u64,
}

/// All that was counted of one region.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Region {
    /// In the order in which they ended.
    pub samples: Vec<Sample>,
    /// How often each instruction executed, in all samples together.
    pub places: BTreeMap<Place, Executed>,
}

/// The fault of a pair of marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// Begun while open on the same CPU; the second mark was ignored.
    BegunTwice,
    /// Ended while not open on that CPU.
    NotBegun,
    /// Still open when the machine ended.
    NotEnded,
}

impl FaultKind {
    const ALL: [Self; 3] = [Self::BegunTwice, Self::NotBegun, Self::NotEnded];

    const fn word(self) -> &'static str {
        match self {
            Self::BegunTwice => "begun-twice",
            Self::NotBegun => "not-begun",
            Self::NotEnded => "not-ended",
        }
    }
}

/// Marks that do not pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The fault.
    pub kind: FaultKind,
    /// The CPU that executed the mark.
    pub cpu: usize,
    /// The region it names.
    pub id: RegionId,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::BegunTwice => "was begun while it was open",
            FaultKind::NotBegun => "was ended, but not begun",
            FaultKind::NotEnded => "was begun, but not ended",
        };
        write!(f, "region {} {what} on CPU {}", self.id, self.cpu)
    }
}

/// All that was counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// By number. One that was begun and never ended has no samples.
    pub regions: BTreeMap<RegionId, Region>,
    /// Marks that do not pair.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (id, region) in &self.regions {
            writeln!(f, "region {id}")?;
            for Sample { cpu, here, elsewhere, reads, writes, code_lines, data_lines } in &region.samples {
                writeln!(
                    f,
                    "sample {cpu} {} {} {} {} {reads} {writes} {code_lines} {data_lines}",
                    here.instructions, here.iterations, elsewhere.instructions, elsewhere.iterations
                )?;
            }
            for (Place { side, address }, executed) in &region.places {
                let side = if *side == Side::Here { "here" } else { "elsewhere" };
                writeln!(f, "place {side} {address:x} {} {}", executed.instructions, executed.iterations)?;
            }
        }
        for Fault { kind, cpu, id } in &self.faults {
            writeln!(f, "fault {} {cpu} {id}", kind.word())?;
        }
        writeln!(f, "{TAIL}")
    }
}

/// Why a text is no report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportError {
    /// It does not begin as one of this version does.
    NotAReport,
    /// Its last line is missing: its writer was stopped.
    Truncated,
    /// This line says nothing that a report says; the number counts from 1.
    BadLine(usize),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAReport => write!(f, "it does not begin with `{HEAD}`"),
            Self::Truncated => f.write_str("its end is missing"),
            Self::BadLine(line) => write!(f, "its line {line} makes no sense"),
        }
    }
}

impl std::error::Error for ReportError {}

impl FromStr for Report {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, head)| head != HEAD) {
            return Err(ReportError::NotAReport);
        }
        let mut report = Self::default();
        let mut current = None;
        for (index, line) in lines {
            if line == TAIL {
                return Ok(report);
            }
            let mut words = line.split_whitespace();
            let understood = match words.next() {
                Some("region") => {
                    current = region_id(&mut words);
                    current.map(|id| {
                        report.regions.entry(id).or_default();
                    })
                }
                Some("sample") => sample(&mut words).zip(report.current(current)).map(|(sample, region)| {
                    region.samples.push(sample);
                }),
                Some("place") => {
                    place(&mut words).zip(report.current(current)).map(|((place, executed), region)| {
                        *region.places.entry(place).or_default() += executed;
                    })
                }
                Some("fault") => fault(&mut words).map(|fault| report.faults.push(fault)),
                _ => None,
            };
            if understood.is_none() || words.next().is_some() {
                return Err(ReportError::BadLine(index + 1));
            }
        }
        Err(ReportError::Truncated)
    }
}

impl Report {
    /// Returns the region with this number, if it was begun and ended at least once.
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(&id).filter(|region| !region.samples.is_empty())
    }

    fn current(&mut self, id: Option<RegionId>) -> Option<&mut Region> {
        self.regions.get_mut(&id?)
    }
}

fn number<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn region_id(words: &mut SplitWhitespace<'_>) -> Option<RegionId> {
    RegionId::new(number(words)?)
}

fn executed(words: &mut SplitWhitespace<'_>) -> Option<Executed> {
    Some(Executed { instructions: number(words)?, iterations: number(words)? })
}

fn sample(words: &mut SplitWhitespace<'_>) -> Option<Sample> {
    Some(Sample {
        cpu: number(words)?,
        here: executed(words)?,
        elsewhere: executed(words)?,
        reads: number(words)?,
        writes: number(words)?,
        code_lines: number(words)?,
        data_lines: number(words)?,
    })
}

fn place(words: &mut SplitWhitespace<'_>) -> Option<(Place, Executed)> {
    let side = match words.next()? {
        "here" => Side::Here,
        "elsewhere" => Side::Elsewhere,
        _ => return None,
    };
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((Place { side, address }, executed(words)?))
}

fn fault(words: &mut SplitWhitespace<'_>) -> Option<Fault> {
    let word = words.next()?;
    let kind = FaultKind::ALL.into_iter().find(|kind| kind.word() == word)?;
    Some(Fault { kind, cpu: number(words)?, id: region_id(words)? })
}
