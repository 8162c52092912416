//! One region on one machine: the kernel's counters, the plugin's counts, and its trace.

use rhumb_trace::{Content, Place, Sums, Tally};

use crate::machine::Said;
use crate::plan::{Part, Planned};
use crate::rows::{Row, rows};

/// One region on one machine.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Measured {
    pub(crate) part: Part,
    /// The machine's name.
    pub(crate) machine: String,
    pub(crate) cpus: u32,
    pub(crate) row: Row,
    /// Medians over the runs.
    pub(crate) instructions: f64,
    pub(crate) iterations: f64,
    /// The trace, where accesses were followed.
    pub(crate) traced: Option<rhumb_trace::Region>,
}

/// Returns all regions of a machine but the one that is the measuring itself.
pub(crate) fn join(planned: &Planned, said: &Said) -> Vec<Measured> {
    let rows = rows(&said.console).into_iter().filter(|row| row.name != "empty");
    rows.filter_map(|row| {
        let samples = &said.counts.region(row.id)?.samples;
        let median = |of: fn(&rhumb_count::Sample) -> u64| {
            let mut numbers: Vec<u64> = samples.iter().map(of).collect();
            numbers.sort_unstable();
            match numbers.as_slice() {
                [] => f64::NAN,
                numbers if numbers.len() % 2 == 1 => numbers[numbers.len() / 2] as f64,
                numbers => (numbers[numbers.len() / 2 - 1] + numbers[numbers.len() / 2]) as f64 / 2.0,
            }
        };
        Some(Measured {
            part: planned.part,
            machine: planned.label.clone(),
            cpus: planned.cpus,
            instructions: median(|sample| sample.here.instructions),
            iterations: median(|sample| sample.here.iterations),
            traced: said.trace.as_ref().and_then(|trace| trace.regions.get(&row.id)).cloned(),
            row,
        })
    })
    .collect()
}

impl Measured {
    /// Returns a sum over all runs as a mean of one.
    pub(crate) fn each(&self, sum: u64) -> f64 {
        sum as f64 / self.row.runs.max(1) as f64
    }

    /// Returns the sums of a geometry on the CPU that executed the marks.
    pub(crate) fn sums(&self, geometry: usize) -> Option<&Sums> {
        self.traced.as_ref()?.here.get(geometry)
    }
}

/// The classes of accesses that charts tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Data in the direct map.
    DirectMap,
    /// All other data of the kernel.
    OtherData,
    /// The kernel's code.
    Code,
    /// Programs: none yet.
    User,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::DirectMap, Self::OtherData, Self::Code, Self::User];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DirectMap => "kernel data in the direct map",
            Self::OtherData => "other kernel data",
            Self::Code => "kernel code",
            Self::User => "user",
        }
    }

    pub(crate) fn of(self, sums: &Sums) -> Tally {
        let kernel = |place| place != Place::User;
        match self {
            Self::DirectMap => *sums.of(Place::DirectMap, Content::Data),
            Self::OtherData => sums.over(Content::Data, |place| kernel(place) && place != Place::DirectMap),
            Self::Code => sums.over(Content::Code, kernel),
            Self::User => {
                let mut tally = sums.over(Content::Data, |place| !kernel(place));
                tally += sums.over(Content::Code, |place| !kernel(place));
                tally
            }
        }
    }
}
