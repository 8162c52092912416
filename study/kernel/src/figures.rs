//! Measured regions as parts of a study: charts, curves, tables.

use rhumb_study_report::{Bar, Bars, Cell, Column, Curve, Point, Series, Study, Table};
use rhumb_tlb_model::Geometry;
use rhumb_trace::Tally;

use crate::measured::{Class, Measured};
use crate::plan::Part;

/// The region that says most of the direct map: more memory than any first level reaches.
const TELLING: &str = "study/pages/256m";
/// The regions of charts of the direct map.
const READS: [&str; 5] =
    ["study/pages/64m", "study/pages/256m", "study/copy", "study/objects", "study/lookup"];

/// Adds everything that follows from the regions.
pub(crate) fn add(study: &mut Study, geometries: &[Geometry], measured: &[Measured]) {
    study.bars.extend(geometries.first().and_then(|geometry| telling(0, geometry, measured)));
    study.bars.extend(flushes(measured));
    for (index, geometry) in geometries.iter().enumerate() {
        for (part, regions) in [
            (Part::DirectMap, &READS[..]),
            (Part::Memory, &["study/objects", "study/lookup"]),
            (Part::Text, &[]),
        ] {
            study.bars.extend(misses(index, geometry, measured, part, regions));
        }
    }
    study.curves.extend(over_cpus(measured));
    study.tables.extend(Part::ALL.into_iter().filter_map(|part| counts(part, measured)));
    study.tables.extend(translations(geometries, measured));
}

fn of(measured: &[Measured], part: Part) -> impl Iterator<Item = &Measured> {
    measured.iter().filter(move |one| one.part == part)
}

fn bars(
    id: String,
    title: String,
    unit: &str,
    parts: &[&str],
    bars: Vec<Bar>,
    caption: &str,
) -> Option<Bars> {
    let parts = parts.iter().map(|part| (*part).to_owned()).collect();
    let is_empty = bars.is_empty();
    (!is_empty).then(|| Bars { id, title, unit: unit.to_owned(), parts, bars, caption: caption.to_owned() })
}

/// The chart that the verdict quotes.
fn telling(index: usize, geometry: &Geometry, measured: &[Measured]) -> Option<Bars> {
    let region = |one: &&Measured| one.row.name == TELLING;
    let mut all = Vec::new();
    for one in of(measured, Part::DirectMap).filter(region) {
        let tally = Class::DirectMap.of(one.sums(index)?);
        let found = one.each(tally.misses - tally.all_walks());
        all.push(Bar { name: one.machine.clone(), values: vec![found, one.each(tally.all_walks())] });
    }
    let title = "TLB misses of 1,024 random reads of 256 MiB".to_owned();
    let caption = format!(
        "The first level's misses on a modelled {}: a translation in the second level costs a few cycles, a walk reads the \
         page tables. The pages are single frames, which Rhumb takes from the fullest blocks first, and so from those \
         that a taken frame has broken; a healed map is what boot made, bit for bit",
        geometry.name
    );
    bars(
        format!("tlb/{}/reads", geometry.id),
        title,
        "misses",
        &["found in the second level", "walks"],
        all,
        &caption,
    )
}

/// Misses and walk references of one geometry in one part: a chart of each.
fn misses(
    index: usize,
    geometry: &Geometry,
    measured: &[Measured],
    part: Part,
    regions: &[&str],
) -> Vec<Bars> {
    let classes = Class::ALL.map(Class::name);
    let chart = |what: &str, title: &str, unit: &str, value: fn(&Tally) -> u64| {
        let mut all = Vec::new();
        // The regions in the order in which the first machine had them.
        let mut names: Vec<&str> = Vec::new();
        for one in of(measured, part) {
            if !names.contains(&one.row.name.as_str()) {
                names.push(&one.row.name);
            }
        }
        for name in names.into_iter().filter(|name| regions.is_empty() || regions.contains(name)) {
            for one in of(measured, part).filter(|one| one.row.name == name) {
                let Some(sums) = one.sums(index) else { continue };
                let values: Vec<f64> =
                    Class::ALL.iter().map(|class| one.each(value(&class.of(sums)))).collect();
                all.push(Bar { name: format!("{name}, {}", one.machine), values });
            }
        }
        // Rows of zeroes alone say nothing where there are many.
        all.retain(|bar| !regions.is_empty() || bar.values.iter().any(|value| *value > 0.0));
        bars(
            format!("tlb/{}/{}/{what}", geometry.id, part.id()),
            format!("{}: {title}, {}", part.title(), geometry.name),
            unit,
            &classes,
            all,
            "Means of one run. There are no user programs yet, so that nothing competes with the kernel",
        )
    };
    let misses = chart("misses", "translations missing in the first level", "misses", |tally| tally.misses);
    let references =
        chart("references", "entries of page tables that walks read", "references", |tally| tally.references);
    misses.into_iter().chain(references).collect()
}

/// The cost of one area under each policy, by the number of CPUs.
fn flushes(measured: &[Measured]) -> Option<Bars> {
    const POLICIES: [(&str, &str, f64); 3] =
        [("kmap/eager/1", "eager", 1.0), ("kmap/batched/1", "batched", 16.0), ("kmap/lazy/1", "lazy", 128.0)];
    let mut all = Vec::new();
    for (region, policy, areas) in POLICIES {
        for one in of(measured, Part::Shootdown).filter(|one| one.row.name == region) {
            all.push(Bar {
                name: format!("{policy}, {}", one.machine),
                values: vec![(one.instructions + one.iterations) / areas],
            });
        }
    }
    bars(
        "counts/shootdown/areas".to_owned(),
        "Mapping one page in the kernel map and giving it back, by when CPUs flush".to_owned(),
        "instructions",
        &["on the CPU that does it"],
        all,
        "Eager flushes at each area, batched once for 16, lazy once for 128",
    )
}

/// The cost of changes over the number of CPUs.
fn over_cpus(measured: &[Measured]) -> Option<Curve> {
    const CHANGES: [&str; 6] = [
        "directmap/split",
        "directmap/protect",
        "directmap/remove",
        "pool/take",
        "kmap/eager/1",
        "flush/page",
    ];
    let series: Vec<Series> = CHANGES
        .iter()
        .map(|name| {
            let regions = of(measured, Part::Shootdown).filter(|one| one.row.name == *name);
            let point = |one: &Measured| {
                let y = one.instructions + one.iterations;
                Point { x: f64::from(one.cpus - 1), y, low: y, high: y }
            };
            Series { name: (*name).to_owned(), points: regions.map(point).collect() }
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    (!series.is_empty()).then(|| Curve {
        id: "counts/shootdown/cpus".to_owned(),
        title: "Changes that other CPUs must hear of".to_owned(),
        x_label: "other CPUs that are busy".to_owned(),
        y_label: "instructions on the CPU that makes the change".to_owned(),
        x_by_powers: false,
        series,
        caption: "The wait for the other CPUs is a part of it".to_owned(),
    })
}

/// The exact counts of a part.
fn counts(part: Part, measured: &[Measured]) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = of(measured, part)
        .map(|one| {
            let row = &one.row;
            let mut cells = vec![Cell::Text(row.name.clone()), Cell::Text(one.machine.clone())];
            cells.extend([one.instructions, one.iterations].map(Cell::Number));
            let sums = [row.table_writes, row.flushes, row.remote, row.interrupts];
            cells.extend(sums.map(|sum| Cell::Number(one.each(sum))));
            cells
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        id: format!("counts/{}", part.id()),
        title: format!("{}: exact counts", part.title()),
        columns: Column::list(&[
            ("operation", ""),
            ("machine", ""),
            ("instructions", "instructions"),
            ("string iterations", "iterations"),
            ("table writes", "writes"),
            ("flushes", "flushes"),
            ("rounds on other CPUs", "rounds"),
            ("interrupts", "interrupts"),
        ]),
        rows,
        caption: "Medians of 64 runs on the CPU that does it; writes, flushes, rounds and interrupts are means of a run \
                  over all CPUs"
            .to_owned(),
    })
}

/// Every region, machine and geometry, by class.
fn translations(geometries: &[Geometry], measured: &[Measured]) -> Option<Table> {
    let mut rows = Vec::new();
    for one in measured {
        for (index, geometry) in geometries.iter().enumerate() {
            let Some(sums) = one.sums(index) else { continue };
            for class in Class::ALL {
                let tally = class.of(sums);
                if tally.misses == 0 {
                    continue;
                }
                let words = [one.row.name.as_str(), &one.machine, &geometry.id, class.name()];
                let mut cells: Vec<Cell> = words.iter().map(|word| Cell::Text((*word).to_owned())).collect();
                let [small, large, largest] = tally.walks;
                let sums = [tally.accesses, tally.misses, small, large, largest, tally.references];
                cells.extend(sums.map(|sum| Cell::Number(one.each(sum))));
                rows.push(cells);
            }
        }
    }
    (!rows.is_empty()).then(|| Table {
        id: "tlb/all".to_owned(),
        title: "Translations, modelled".to_owned(),
        columns: Column::list(&[
            ("operation", ""),
            ("machine", ""),
            ("geometry", ""),
            ("class", ""),
            ("accesses", "accesses"),
            ("first-level misses", "misses"),
            ("walks to 4-KiB pages", "walks"),
            ("to 2-MiB pages", "walks"),
            ("to 1-GiB pages", "walks"),
            ("entries read by walks", "references"),
        ]),
        rows,
        caption: "Means of one run, on the CPU that does it; rows without a miss are left out. An access of code is a \
                  block of instructions on one page"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
