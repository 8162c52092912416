use rhumb_tlb_model::published;

use super::*;
use crate::machine::Said;
use crate::measured::join;
use crate::plan::{Planned, plan};

/// A machine's own words: one region with a trace of two geometries.
fn said(walks: u64) -> Said {
    let console = "\
region                  id   runs     least       ticks  writes  flushes  remote  interrupts
empty                    0     64        96        6144       0        0       0           0
study/pages/256m       258     64    901328    57684992       0       64       0         128
";
    let sample = |instructions: u64| format!("sample 0 {instructions} 3 0 0 0 0 5 7\n");
    let samples: String = (0..64).map(|index| sample(1000 + index % 2)).collect();
    let counts = format!("rhumb-count 1\nregion 0\nregion 258\n{samples}end\n");
    let trace = format!(
        "rhumb-trace 1\ngeometry skylake-sp\ngeometry zen3\nregion 258 64 0 0\n\
         sum here 0 direct-map data 589824 70000 {walks} 0 0 112234 0\n\
         sum here 0 image code 131010 64 0 64 0 64 0\n\
         sum here 1 direct-map data 589824 60000 0 640 0 640 0\nend\n"
    );
    Said { console: console.into(), counts: counts.parse().unwrap(), trace: Some(trace.parse().unwrap()) }
}

fn measured() -> Vec<Measured> {
    let plan: Vec<Planned> = plan(true).into_iter().filter(|one| one.part == Part::DirectMap).collect();
    plan.iter().zip([0, 0, 64_000, 32_000, 0]).flat_map(|(one, walks)| join(one, &said(walks))).collect()
}

fn study() -> Study {
    let out = std::env::temp_dir();
    rhumb_study_system::Session::quiet(out).begin_study(rhumb_study_report::Kind::Kernel)
}

#[test]
fn a_region_is_joined_from_console_counts_and_trace() {
    let measured = measured();
    assert_eq!(measured.len(), 5);
    let one = &measured[0];
    assert_eq!((one.row.name.as_str(), one.machine.as_str()), ("study/pages/256m", "1-GiB pages"));
    assert_eq!((one.instructions, one.iterations, one.each(one.row.interrupts)), (1000.5, 3.0, 2.0));
    let sums = one.sums(0).unwrap();
    assert_eq!(Class::DirectMap.of(sums).misses, 70_000);
    assert_eq!(Class::Code.of(sums).walks, [0, 64, 0]);
    assert_eq!(Class::User.of(sums), Tally::default());
}

#[test]
fn the_first_chart_sets_the_maps_side_by_side() {
    let (mut study, geometries) = (study(), [published::skylake_sp(), published::zen3()]);
    add(&mut study, &geometries, &measured());
    let first = &study.bars[0];
    assert_eq!(first.id, "tlb/skylake-sp/reads");
    let names: Vec<&str> = first.bars.iter().map(|bar| bar.name.as_str()).collect();
    assert_eq!(names[0], "1-GiB pages");
    assert_eq!(names.len(), 5);
    let broken = first.bars.iter().find(|bar| bar.name == "4-KiB pages").unwrap();
    assert_eq!(broken.values, [6000.0 / 64.0, 1000.0]);
    let ids: Vec<&str> = study.bars.iter().map(|bars| bars.id.as_str()).collect();
    for id in ["tlb/skylake-sp/directmap/misses", "tlb/zen3/directmap/references"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(study.bars.iter().all(|bars| bars.bars.iter().all(|bar| bar.values.len() == bars.parts.len())));
    assert!(study.tables.iter().all(|table| table.rows.iter().all(|row| row.len() == table.columns.len())));
    assert!(study.tables.iter().any(|table| table.id == "counts/directmap" && table.rows.len() == 5));
    assert!(study.tables.iter().any(|table| table.id == "tlb/all"));
}

#[test]
fn without_a_trace_the_counts_are_still_there() {
    let mut measured = measured();
    measured.iter_mut().for_each(|one| one.traced = None);
    let mut study = study();
    add(&mut study, &[published::skylake_sp()], &measured);
    assert!(study.bars.is_empty() && study.curves.is_empty());
    assert_eq!(study.tables.iter().map(|table| table.id.as_str()).collect::<Vec<_>>(), ["counts/directmap"]);
    let mut none = self::study();
    add(&mut none, &[], &[]);
    assert!(none.tables.is_empty());
}
