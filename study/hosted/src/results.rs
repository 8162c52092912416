//! Measured values as parts of a study.
//!
//! | module | owns |
//! |---|---|
//! | `comparisons` | the comparisons, their negative control, hardware counts |
//! | `ladder` | the measured reach of the TLB |
//! | `pages` | the pages that the system gave, and the memory that tables take |

mod comparisons;
mod ladder;
mod pages;

use rhumb_study_report::Study;

use crate::options::Program;
use crate::rounds::Measured;
use crate::size::sized;

pub(crate) use self::comparisons::{add_comparisons, add_counts};
pub(crate) use self::ladder::add_ladder;
pub(crate) use self::pages::add_pages;

/// Adds the sentences that a reader needs.
pub(crate) fn add_notes(study: &mut Study, program: &Program, measured: &Measured) {
    let repeats = match measured.repeats {
        0 | 1 => String::new(),
        repeats => format!("; a sample is the mean of up to {repeats} rounds on the same memory"),
    };
    let mut notes = vec![
        format!(
            "Each arm had {} or more fresh direct maps of {}, one after the other, half full of data at the same physical \
             addresses as in the other arms. Each pair of samples comes from memory of its own{repeats}, so chance in where \
             memory lies is part of the spread. A round of a workload took some {} ms in each arm.",
            measured.pair_count(),
            sized(program.bytes),
            measured.sample.as_millis()
        ),
        "The broken blocks lie where they lay before and are mapped by 512 entries each, as in a kernel. A CPU that joins \
         neighbouring entries in its TLB does so here, too."
            .to_owned(),
        "Each operation waits for the data of the one before, as system calls do. User space's accesses are not timed."
            .to_owned(),
    ];
    if let Some(hypervisor) = &study.machine.virtualised {
        notes.push(format!(
            "The machine is virtual ({hypervisor}): the sizes of pages are the guest's. The CPU translates through \
             the hypervisor's tables, too: where the hypervisor's pages are smaller, a TLB entry covers no more than \
             these, and a miss walks both."
        ));
    }
    if !measured.left_out.is_empty() {
        notes.push(format!(
            "The time was too short for memories enough for all comparisons, so there are fewer: without {}. More --minutes \
             bring them back.",
            measured.left_out.join(", and without ")
        ));
    }
    if measured.pair_count() < measured.fewest_pairs {
        notes.push(format!(
            "Some comparisons have {} pairs of samples only. It takes {} to find an effect, however large, among so many \
             comparisons: give the study more --minutes, or choose fewer workloads with --only.",
            measured.pair_count(),
            measured.fewest_pairs
        ));
    }
    if !measured.discarded.is_empty() {
        let reasons: Vec<&str> = measured.discarded.iter().map(String::as_str).collect();
        notes.push(format!("Samples were thrown away because {}.", reasons.join("; and because ")));
    }
    study.notes.extend(notes);
}
