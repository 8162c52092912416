//! Measured values as parts of a study.

use std::collections::BTreeMap;

use rhumb_method::{Effect, Stopped};
use rhumb_study_report::{
    Bar, Bars, Cell, Column, Comparison, Control, ControlKind, Curve, Omission, Point, Series, Study, Table,
};
use rhumb_study_system::controls::of_negative;
use rhumb_study_system::counters;

use crate::arms::{Arm, Arms, Seen};
use crate::backing::Pages;
use crate::data::world::Placement;
use crate::ladder::{Ladder, is_fractured, knees};
use crate::options::{Case, Program};
use crate::rounds::{CONFIDENCE, Measured, Pairs};

const PAGE: u64 = 4096;

impl Case {
    fn id(self, arm: &str) -> String {
        let placement = match self.placement {
            Placement::Spread => "",
            Placement::Dense => "/dense",
        };
        format!("{}/{arm}{placement}{}", self.workload.id(), self.user_space.id())
    }

    fn conditions(self) -> BTreeMap<String, String> {
        let placement = match self.placement {
            Placement::Spread => "spread over all memory",
            Placement::Dense => "side by side",
        };
        BTreeMap::from([
            ("data".to_owned(), placement.to_owned()),
            ("user space".to_owned(), self.user_space.describe().to_owned()),
        ])
    }
}

/// Adds the comparisons and the negative control.
pub(crate) fn add_comparisons(study: &mut Study, arms: &Arms, measured: &Measured) {
    let Some(baseline) = arms.baseline() else { return };
    for seen in arms.seen.iter().skip(1) {
        for ((case, arm), pairs) in &measured.pairs {
            if *arm == Arm::Of(seen.pages) {
                let id = case.id(&seen.pages.id());
                let names = (baseline.to_string(), seen.pages.to_string());
                study.comparisons.push(comparison(id, *case, names, pairs, measured.stopped));
            }
        }
    }
    study.adjust();
    let twins: Vec<_> = measured.pairs.iter().filter(|((_, arm), _)| *arm == Arm::Again).collect();
    if twins.is_empty() {
        return;
    }
    match negative_control(baseline, &twins, measured.stopped) {
        Some(control) => study.controls.push(control),
        None => study.omissions.push(Omission {
            part: format!("the negative control: {baseline} against {baseline}"),
            why: "There were too few rounds for an answer.".to_owned(),
            remedy: "Give the study more --minutes, or a quieter machine.".to_owned(),
        }),
    }
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.to_owned() };
    study.tables.push(Table {
        id: "same-map".to_owned(),
        title: format!("{baseline} against {baseline} in other memory"),
        columns: ["workload", "user space", "data"]
            .map(|name| column(name, ""))
            .into_iter()
            .chain(["ratio", "low", "high"].map(|name| column(name, "of the baseline")))
            .collect(),
        rows: twins.iter().map(|((case, _), pairs)| twin_row(*case, pairs)).collect(),
        caption: "All ratios should be 1, within the noise. The negative control is their geometric mean."
            .to_owned(),
    });
}

fn comparison(
    id: String,
    case: Case,
    (baseline, arm): (String, String),
    pairs: &Pairs,
    stopped: Stopped,
) -> Comparison {
    Comparison {
        id,
        family: format!("Direct map: {arm}"),
        workload: case.workload.describe().to_owned(),
        baseline,
        arm,
        conditions: case.conditions(),
        unit: "ns".to_owned(),
        baseline_samples: pairs.baseline.clone(),
        arm_samples: pairs.arm.clone(),
        effect: Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE),
        stopped,
    }
}

/// Returns the control in which the geometric mean of all cases is compared, the most sensitive there is; `None` where
/// the rounds were too few.
fn negative_control(baseline: Pages, twins: &[(&(Case, Arm), &Pairs)], stopped: Stopped) -> Option<Control> {
    let rounds = twins.iter().map(|(_, pairs)| pairs.arm.len()).min().unwrap_or(0);
    let mean = |of: fn(&Pairs) -> &Vec<f64>| -> Vec<f64> {
        let in_round = |round: usize| twins.iter().map(|(_, pairs)| of(pairs)[round].ln()).sum::<f64>();
        (0..rounds).map(|round| (in_round(round) / twins.len() as f64).exp()).collect()
    };
    let (baseline_samples, arm_samples) = (mean(|pairs| &pairs.baseline), mean(|pairs| &pairs.arm));
    let effect = Effect::of(&baseline_samples, &arm_samples, CONFIDENCE)?;
    let (passed, verdict) = of_negative(&format!("{baseline} against {baseline} in other memory"), &effect);
    let comparison = Comparison {
        id: "control/same-map".to_owned(),
        family: "Controls".to_owned(),
        workload: "all workloads, their geometric mean".to_owned(),
        baseline: baseline.to_string(),
        arm: format!("{baseline}, other memory"),
        conditions: BTreeMap::new(),
        unit: "ns".to_owned(),
        baseline_samples,
        arm_samples,
        effect: Some(effect),
        stopped,
    };
    Some(Control { kind: ControlKind::Negative, comparison, passed, verdict })
}

fn twin_row(case: Case, pairs: &Pairs) -> Vec<Cell> {
    let words = [case.workload.id(), case.user_space.describe(), &case.conditions()["data"]]
        .map(|text| Cell::Text(text.to_owned()));
    let effect = Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE);
    let number =
        |of: fn(&Effect) -> f64| effect.as_ref().map_or(Cell::Unknown(()), |effect| Cell::Number(of(effect)));
    words
        .into_iter()
        .chain([number(|effect| effect.ratio), number(|effect| effect.low), number(|effect| effect.high)])
        .collect()
}

/// Adds the tables of hardware counts.
pub(crate) fn add_counts(study: &mut Study, arms: &Arms, measured: &Measured) {
    for (case, rows) in &measured.counted {
        let named: Vec<_> = rows
            .iter()
            .filter_map(|(arm, operations, readings)| {
                let pages = arms.pages(*arm).filter(|_| *arm != Arm::Again)?;
                Some((pages.to_string(), *operations, readings.clone()))
            })
            .collect();
        let title = format!("Hardware counts: {}", case.workload.describe());
        study.tables.push(counters::table(&case.id("counts"), &title, &named));
    }
    study.omissions.extend(measured.no_counters.clone());
}

/// Adds the ladder, and the reach of TLBs that follows from it.
pub(crate) fn add_ladder(study: &mut Study, pages: &[Pages], ladder: &Ladder) {
    if ladder.pages.is_empty() {
        return;
    }
    // The least of several samples: what disturbs an access only makes it longer.
    let least_of = |samples: &Vec<f64>| samples.iter().copied().min_by(f64::total_cmp);
    let least: Vec<Vec<f64>> =
        ladder.ns.iter().map(|rungs| rungs.iter().filter_map(least_of).collect()).collect();
    let series = pages.iter().zip(&ladder.ns).map(|(pages, rungs)| Series {
        name: pages.to_string(),
        points: ladder
            .pages
            .iter()
            .zip(rungs)
            .filter_map(|(pages, samples)| Point::of((pages * PAGE) as f64 / 1024.0, samples, CONFIDENCE))
            .collect(),
    });
    study.curves.push(Curve {
        id: "tlb-ladder".to_owned(),
        title: "The reach of the TLB".to_owned(),
        x_label: "memory accessed, one line in each 4 KiB (KiB)".to_owned(),
        y_label: "ns for each access".to_owned(),
        x_by_powers: true,
        series: series.collect(),
        caption: "All lines read the same cache lines: one line's height above another is the cost of translations."
            .to_owned(),
    });
    let Some(floor) = least.first() else { return };
    if is_fractured(&ladder.pages, floor) {
        study.notes.push(format!(
            "Even {} slow down within 1 MiB, where the first cache holds all that is read: the TLB keeps smaller pieces \
             of them. That is so where a hypervisor maps the machine's memory by small pages. Then the effects here are \
             those of longer walks alone, and a machine with large pages below would show larger ones.",
            pages[0]
        ));
    }
    let rows = pages.iter().zip(&least).skip(1).map(|(pages, ns)| {
        let knees = knees(&ladder.pages, floor, ns);
        let text =
            knees.iter().map(|pages| format!("{} KiB", pages * PAGE / 1024)).collect::<Vec<_>>().join(", ");
        let last =
            ns.last().zip(floor.last()).map_or(Cell::Unknown(()), |(ns, floor)| Cell::Number(ns - floor));
        let text = if text.is_empty() { "none seen".to_owned() } else { text };
        vec![Cell::Text(pages.to_string()), Cell::Text(text), last]
    });
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.to_owned() };
    study.tables.push(Table {
        id: "tlb-reach".to_owned(),
        title: "Where the ladder rises".to_owned(),
        columns: vec![column("pages", ""), column("rises from", ""), column("height at the end", "ns")],
        rows: rows.collect(),
        caption: "The memory from which on a ladder rises above the one of the largest pages. The first rises are the \
                  reach of the TLB's levels, later ones that of the caches that hold page tables."
            .to_owned(),
    });
}

/// Adds the pages that the system gave, and the memory that tables take.
pub(crate) fn add_pages(study: &mut Study, program: &Program, seen: &[Seen]) {
    let column = |name: &str, unit: &str| Column { name: name.to_owned(), unit: unit.to_owned() };
    let mib = |bytes: u64| Cell::Number((bytes >> 20) as f64);
    let count = |count: Option<u64>| count.map_or(Cell::Unknown(()), |count| Cell::Number(count as f64));
    let row = |seen: &Seen| {
        vec![
            Cell::Text(seen.pages.to_string()),
            Cell::Text(seen.source.to_owned()),
            mib(seen.got.gib_bytes),
            mib(seen.got.mib_bytes),
            mib(seen.got.kib_bytes),
            count(seen.placed.map(|placed| placed.contiguous)),
            count(seen.placed.and_then(|placed| placed.flagged_huge)),
            count(seen.tables_bytes.map(|bytes| bytes >> 10)),
            count(Some(seen.pages.kernel_tables_bytes(program.bytes) >> 10)),
        ]
    };
    study.tables.push(Table {
        id: "pages".to_owned(),
        title: format!("The pages of each direct map of {} MiB, as the system tells", program.bytes >> 20),
        columns: vec![
            column("direct map", ""),
            column("source", ""),
            column("in 1-GiB pages", "MiB"),
            column("in 2-MiB pages", "MiB"),
            column("in 4-KiB pages", "MiB"),
            column("contiguous blocks", "of 2 MiB"),
            column("blocks of huge pages", "of 2 MiB"),
            column("tables here", "KiB"),
            column("tables of a kernel", "KiB"),
        ],
        rows: seen.iter().map(row).collect(),
        caption: "Sizes by /proc/self/smaps; blocks by pagemap and kpageflags, which only root may read. Linux sets a \
                  table aside for each transparent huge page, so the process's tables are those of 4-KiB pages in any \
                  case; a kernel's direct map has the tables of the last column."
            .to_owned(),
    });
    let bar = |seen: &Seen| Bar {
        name: seen.pages.to_string(),
        values: vec![seen.pages.kernel_tables_bytes(program.bytes) as f64 / 1024.0],
    };
    study.bars.push(Bars {
        id: "page-tables".to_owned(),
        title: format!("Page tables of a direct map of {} MiB", program.bytes >> 20),
        unit: "KiB".to_owned(),
        parts: vec!["tables below the third level".to_owned()],
        bars: seen.iter().map(bar).collect(),
        caption: "Reckoned: a page of entries for each GiB that is not one page, and for each broken block."
            .to_owned(),
    });
}

/// Adds the sentences that a reader needs.
pub(crate) fn add_notes(study: &mut Study, program: &Program, measured: &Measured) {
    let repeats = match measured.repeats {
        0 | 1 => String::new(),
        repeats => format!("; a sample is the mean of up to {repeats} rounds on the same memory"),
    };
    let mut notes = vec![
        format!(
            "Each arm had {} or more fresh direct maps of {} MiB, one after the other, half full of data at the same \
             physical addresses as in the other arms. Each pair of samples comes from memory of its own{repeats}. A round \
             took some {} ms for each arm. So chance in where physical memory lies is part of the spread.",
            measured.pair_count(),
            program.bytes >> 20,
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
            "The machine is virtual ({hypervisor}): the sizes of pages are the guest's, and they are half of the truth. \
             The CPU translates through the hypervisor's tables, too, and where the hypervisor's pages are smaller, a \
             TLB entry covers no more than these; a miss walks both."
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

#[cfg(test)]
mod tests;
