//! The phases as parts of a study: effects with the drift in their intervals, controls, the dose, the map, its tables.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rhumb_method::adjust::holm;
use rhumb_method::summary::Summary;
use rhumb_method::{Effect, Stopped};
use rhumb_study_report::{
    Bar, Bars, Cell, Column, Comparison, Curve, MemoryMap, Point, Series, Study, Table,
};

use crate::breaking::{Broken, Ended, Moment};
use crate::controls;
use crate::drift::{Difference, Drift, Phase};
use crate::phases::{Measured, Subject};
use crate::proc::Root;
use crate::who::show::{page, size};
use crate::who::study::by_size;
use crate::who::survey::listing;
use crate::workloads::reference;

/// The share of intervals that hold the true ratio.
const CONFIDENCE: f64 = 0.95;

/// A step of breaking.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    /// Its name, from the share that is broken: "5.0 % broken".
    pub(crate) name: String,
    /// Bytes that were to be in pages of 4 KiB.
    pub(crate) wanted: u64,
    /// The result.
    pub(crate) broken: Broken,
}

/// Returns the share of the map that was broken since `before`, in percent.
fn percent(before: &Moment, after: &Moment) -> f64 {
    let broken = after.small().saturating_sub(before.small());
    broken as f64 * 100.0 / after.map.total().max(1) as f64
}

/// Names a moment by the share that was broken since `before`.
pub(crate) fn name(before: &Moment, after: &Moment) -> String {
    format!("{:.1} % broken", percent(before, after))
}

/// Puts a picture of the map into a study: by place where the kernel lists it.
pub(crate) fn picture(study: &mut Study, root: &Root, moment: &Moment, name: &str) {
    study.maps.push(match listing(root) {
        Ok(listing) => MemoryMap {
            moment: name.to_owned(),
            extents: listing.extents,
            source: "debug/page_tables/kernel".to_owned(),
        },
        Err(_) => by_size(&moment.map, name),
    });
}

/// Fills a study with all phases, of which the first has the whole map, and with the controls of these and those `by_turns`.
pub(crate) fn fill(
    study: &mut Study,
    before: &Moment,
    steps: &[Step],
    subjects: &[Subject],
    measured: &[(String, Measured)],
    by_turns: Vec<Comparison>,
) {
    let phases: Vec<Phase> =
        measured.iter().map(|(_, one)| controls::of_kernel(&one.phase, subjects)).collect();
    let drift = Drift::of(&phases);
    study.controls.extend(controls::judge(subjects, measured, by_turns));
    compare(study, subjects, measured, &drift);
    study.curves.extend(dose(before, steps, subjects, measured, &drift));
    study.tables.push(workloads(subjects, measured));
    study.tables.push(map(before, steps));
    if !steps.is_empty() {
        study.tables.push(breaking(steps));
        study.bars.push(tables(before, steps));
        study.notes.push(
            "The map cannot be mended, so before and after do not take turns: intervals of before against after hold the \
             drift that pieces of each phase showed. Data of all workloads were made anew for each block."
                .to_owned(),
        );
        // A quarter of a phase, in blocks; drift between two of them goes on for two thirds of their length.
        let quarter = phases.first().and_then(|phase| phase.blocks.iter().map(Vec::len).max()).unwrap_or(0)
            as f64
            / 4.0;
        study.notes.push(format!(
            "Between quarters of a phase, all workloads together drifted by {:.2} %, and each of them besides by {:.1} times \
             its noise.",
            ((drift.common.variance * quarter * 2.0 / 3.0).sqrt().exp() - 1.0) * 100.0,
            (drift.pooled.walk.variance / 3.0).sqrt() * quarter,
        ));
        let apart: Vec<&str> =
            drift.apart.iter().filter_map(|(index, _)| Some(subjects.get(*index)?.id.as_str())).collect();
        if !apart.is_empty() {
            study.notes.push(format!(
                "Some workloads drifted more than the others, so that their intervals are wider: {}.",
                apart.join(", ")
            ));
        }
    }
}

/// Compares the last phase with the first, and adjusts these comparisons together with those that took turns.
fn compare(study: &mut Study, subjects: &[Subject], measured: &[(String, Measured)], drift: &Drift) {
    let by_turns = study.comparisons.len();
    let mut differences = Vec::new();
    if let [(whole, first), .., (broken, last)] = measured {
        for (index, subject) in subjects.iter().enumerate() {
            if subject.id == reference::ID {
                continue;
            }
            let blocks = |one: &Measured| one.phase.blocks.get(index).cloned().unwrap_or_default();
            let (baseline_samples, arm_samples) = (blocks(first), blocks(last));
            if baseline_samples.is_empty() || arm_samples.is_empty() {
                continue;
            }
            let difference = Difference::between(&first.phase, &last.phase, index, drift);
            let mut conditions = BTreeMap::from([("order".to_owned(), "before, then after".to_owned())]);
            if let Some(share) = last.in_broken.filter(|_| subject.id.starts_with("pread")) {
                conditions
                    .insert("cached pages in broken blocks".to_owned(), format!("{:.0} %", share * 100.0));
            }
            differences.push(difference);
            study.comparisons.push(Comparison {
                id: format!("linux/{}", subject.id),
                family: "Before and after".to_owned(),
                workload: subject.words.clone(),
                baseline: whole.clone(),
                arm: broken.clone(),
                conditions,
                unit: "ns".to_owned(),
                baseline_samples,
                arm_samples,
                effect: difference.map(|difference| difference.effect(CONFIDENCE)),
                stopped: Stopped::Rounds,
            });
        }
    }
    adjust(&mut study.comparisons, by_turns, &differences);
}

/// Adjusts all comparisons for their number, as [`rhumb_method::adjust()`] does: the first `by_turns` from their samples, the
/// rest from their differences.
fn adjust(comparisons: &mut [Comparison], by_turns: usize, differences: &[Option<Difference>]) {
    let level = 1.0 - CONFIDENCE;
    let with_effect: Vec<usize> = comparisons
        .iter()
        .enumerate()
        .filter(|(_, one)| one.effect.is_some())
        .map(|(index, _)| index)
        .collect();
    let p: Vec<f64> = with_effect.iter().filter_map(|index| Some(comparisons[*index].effect?.p)).collect();
    let adjusted = holm(&p);
    let found = adjusted.iter().filter(|p| **p <= level).count();
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    for (rank, place) in order.into_iter().enumerate() {
        let one = &mut comparisons[with_effect[place]];
        let tested = level / (p.len() - rank.min(found)) as f64;
        let strict = Effect::of(&one.baseline_samples, &one.arm_samples, 1.0 - tested);
        let Some(effect) = &mut one.effect else { continue };
        effect.p_adjusted = adjusted[place];
        match with_effect[place]
            .checked_sub(by_turns)
            .and_then(|index| differences.get(index).copied().flatten())
        {
            Some(difference) => difference.set_level(effect, tested),
            None => {
                effect.adjusted = strict.and_then(|strict| strict.adjusted);
                effect.smallest_detectable = strict.and_then(|strict| strict.smallest_detectable);
            }
        }
    }
}

/// Returns the ratio of each workload over the share that is broken.
fn dose(
    before: &Moment,
    steps: &[Step],
    subjects: &[Subject],
    measured: &[(String, Measured)],
    drift: &Drift,
) -> Option<Curve> {
    let (_, first) = measured.first().filter(|_| !steps.is_empty())?;
    let series = subjects.iter().enumerate().filter_map(|(index, subject)| {
        let mut points = vec![Point { x: 0.0, y: 1.0, low: 1.0, high: 1.0 }];
        for (step, (_, one)) in steps.iter().zip(&measured[1..]) {
            let Some(difference) = Difference::between(&first.phase, &one.phase, index, drift) else {
                continue;
            };
            let effect = difference.effect(CONFIDENCE);
            let x = percent(before, &step.broken.after);
            points.push(Point { x, y: effect.ratio, low: effect.low, high: effect.high });
        }
        (points.len() > 1).then(|| Series { name: subject.id.clone(), points })
    });
    Some(Curve {
        id: "dose".to_owned(),
        title: "Time over the share of the map that is broken".to_owned(),
        x_label: "% of the direct map broken into pages of 4 KiB".to_owned(),
        y_label: "time, whole map = 1".to_owned(),
        x_by_powers: false,
        series: series.collect(),
        caption: "An effect of broken pages grows with their share; drift of the machine need not. Intervals are not \
                  adjusted for the number of workloads."
            .to_owned(),
    })
}

fn text(words: impl Into<String>) -> Cell {
    Cell::Text(words.into())
}

/// Returns the times of all workloads in all phases.
fn workloads(subjects: &[Subject], measured: &[(String, Measured)]) -> Table {
    let mut rows = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        for (name, one) in measured {
            let Some(summary) = one.phase.blocks.get(index).and_then(|blocks| Summary::of(blocks)) else {
                continue;
            };
            rows.push(vec![
                text(&subject.id),
                text(&subject.words),
                text(name),
                Cell::Number(summary.median),
                Cell::Number(summary.first_quartile),
                Cell::Number(summary.third_quartile),
                Cell::Number(summary.count.into()),
                one.in_broken
                    .filter(|_| subject.id.starts_with("pread"))
                    .map_or(Cell::Unknown(()), Cell::Number),
            ]);
        }
    }
    Table {
        id: "workloads".to_owned(),
        title: "Times of all workloads".to_owned(),
        columns: Column::list(&[
            ("workload", ""),
            ("work", ""),
            ("phase", ""),
            ("median", "ns"),
            ("first quartile", "ns"),
            ("third quartile", "ns"),
            ("blocks", ""),
            ("share of cached pages in broken blocks", "share"),
        ]),
        rows,
        caption: "Nanoseconds for each operation; a block's value is the median of its samples.".to_owned(),
    }
}

/// Returns the map's counters at all moments.
fn map(before: &Moment, steps: &[Step]) -> Table {
    let mut moments = vec![("before", before)];
    moments.extend(steps.iter().map(|step| (step.name.as_str(), &step.broken.after)));
    let mut rows = Vec::new();
    for (name, moment) in moments {
        for (bytes, now) in moment.map.by_size() {
            rows.push(vec![
                text(name),
                text(format!("pages of {}", page(Some(bytes)))),
                Cell::Number(now as f64),
                text("bytes"),
            ]);
        }
        for (counter, count) in moment.splits.by_name() {
            let count = count.map_or(Cell::Unknown(()), |count| Cell::Number(count as f64));
            rows.push(vec![text(name), text(counter), count, text("since boot")]);
        }
    }
    Table {
        id: "direct-map".to_owned(),
        title: "The direct map before and after".to_owned(),
        columns: Column::list(&[("moment", ""), ("counter", ""), ("value", ""), ("unit", "")]),
        rows,
        caption: "From /proc/meminfo and /proc/vmstat.".to_owned(),
    }
}

fn breaking(steps: &[Step]) -> Table {
    let rows = steps.iter().map(|Step { name, wanted, broken }| {
        let ended = match broken.ended {
            Ended::Reached => "as much is broken as was wanted".to_owned(),
            Ended::Memory => "no more memory may be taken: 15 % stays free".to_owned(),
            Ended::Locked(limit) => {
                format!("no more than {} may be locked (`ulimit -l`; root has no limit)", size(limit))
            }
            Ended::Cancelled => "the user ended the study".to_owned(),
        };
        let rise = broken.after.splits.splits().zip(broken.before.splits.splits());
        vec![
            text(name),
            Cell::Number(*wanted as f64),
            Cell::Number(broken.after.small() as f64),
            Cell::Number(broken.secret_pages as f64),
            rise.map_or(Cell::Unknown(()), |(after, before)| {
                Cell::Number(after.saturating_sub(before) as f64)
            }),
            Cell::Number(broken.took.as_secs_f64()),
            text(ended),
        ]
    });
    Table {
        id: "breaking".to_owned(),
        title: "How the map was broken".to_owned(),
        rows: rows.collect(),
        columns: Column::list(&[
            ("step", ""),
            ("wanted in pages of 4 KiB", "bytes"),
            ("reached", "bytes"),
            ("secret pages", ""),
            ("splits", ""),
            ("time", "s"),
            ("ended because", ""),
        ]),
        caption: "All secret memory was freed after each step; the kernel mended nothing.".to_owned(),
    }
}

/// Returns the memory of the tables that splits have added since boot.
fn tables(before: &Moment, steps: &[Step]) -> Bars {
    let bar = |name: &str, moment: &Moment| {
        moment.splits.table_bytes().map(|bytes| Bar { name: name.to_owned(), values: vec![bytes as f64] })
    };
    let after = steps.iter().filter_map(|step| bar(&step.name, &step.broken.after));
    Bars {
        id: "table-bytes".to_owned(),
        title: "Memory of page tables that splits have added".to_owned(),
        unit: "bytes".to_owned(),
        parts: vec!["tables of the direct map".to_owned()],
        bars: bar("before", before).into_iter().chain(after).collect(),
        caption: "Each split adds a table of 4 KiB, which stays until reboot or a merge.".to_owned(),
    }
}
