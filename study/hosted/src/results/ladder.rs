//! The measured reach of the TLB.

use rhumb_study_report::{Cell, Column, Curve, Point, Series, Study, Table};

use crate::backing::Pages;
use crate::ladder::{Ladder, is_fractured, knees};
use crate::rounds::CONFIDENCE;
use crate::size::{PAGE, sized};

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
        caption: "All curves are of reads of the same cache lines: the height of one above another is the cost of translations."
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
        let text = knees.iter().map(|pages| sized(pages * PAGE)).collect::<Vec<_>>().join(", ");
        let last =
            ns.last().zip(floor.last()).map_or(Cell::Unknown(()), |(ns, floor)| Cell::Number(ns - floor));
        let text = if text.is_empty() { "none seen".to_owned() } else { text };
        vec![Cell::Text(pages.to_string()), Cell::Text(text), last]
    });
    study.tables.push(Table {
        id: "tlb-reach".to_owned(),
        title: "Where the ladder rises".to_owned(),
        columns: vec![Column::new("pages", ""), Column::new("rises from", ""), Column::new("height at the end", "ns")],
        rows: rows.collect(),
        caption: "The memory from which on a ladder rises above the one of the largest pages. The first rises are the \
                  reach of the TLB's levels, later ones that of the caches that hold page tables."
            .to_owned(),
    });
}
