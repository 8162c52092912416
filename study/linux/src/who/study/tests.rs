//! The study of a survey: its tables keep their names and are rectangular, and nothing is lost in JSON.

use rhumb_study_report::Kind;
use rhumb_study_system::Session;

use super::super::sample::survey;
use super::*;
use crate::proc::counters::{GIB_1, KIB_4};
use crate::proc::tables::Listing;

fn study(survey: &Survey) -> Study {
    let mut study = Session::quiet(std::env::temp_dir()).begin_study(Kind::Who);
    fill(&mut study, survey);
    study
}

#[test]
fn tables_keep_their_names_and_are_rectangular() {
    let study = study(&survey());
    let ids: Vec<&str> = study.tables.iter().map(|table| table.id.as_str()).collect();
    assert_eq!(
        ids,
        ["holders", "direct-map", "splits", "blocks", "bpf", "modules", "guest-memory", "reasons"]
    );
    for table in &study.tables {
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.id);
    }
    assert_eq!(study.tables[0].rows.len(), 2);
    let json = serde_json::to_string(&study).expect("JSON");
    let again: Study = serde_json::from_str(&json).expect("the same study");
    assert_eq!(again, study);
}

#[test]
fn the_map_has_places_where_the_kernel_lists_them() {
    let mut survey = survey();
    let by_size = map(&survey, "now");
    assert!(by_size.extents.iter().all(|extent| extent.start.is_none()));
    assert_eq!(by_size.extents.iter().map(|extent| extent.bytes).sum::<u64>(), survey.map.total());
    let extents = vec![Extent { start: Some(0), bytes: GIB_1, page_bytes: Some(KIB_4) }];
    survey.picture = Ok(Listing { extents: extents.clone(), is_cut: false });
    assert_eq!(map(&survey, "now").extents, extents);
    assert!(!omissions(&survey).iter().any(|omission| omission.part == "the map by place"));
}

#[test]
fn missing_parts_are_named_with_a_remedy() {
    let mut survey = survey();
    survey.map = DirectMap::default();
    survey.splits = crate::proc::counters::Splits::default();
    survey.scan.left = 5;
    survey.programs_source = ProgramsSource::Descriptors("Operation not permitted".into());
    survey.secret = Availability::Absent;
    survey.hidepid = Some("2".into());
    let study = study(&survey);
    let parts: Vec<&str> = study.omissions.iter().map(|omission| omission.part.as_str()).collect();
    for part in [
        "processes of other users",
        "hidden processes",
        "some processes",
        "the map by place",
        "the map by page size",
        "splits since boot",
        "BPF programs without a descriptor",
        "pages of machine code",
    ] {
        assert!(parts.contains(&part), "{part} in {parts:?}");
    }
    assert!(
        study.omissions.iter().all(|omission| omission.why.ends_with('.') && !omission.remedy.is_empty())
    );
    assert!(study.notes.iter().any(|note| note.contains("secretmem.enable=1")));
}
