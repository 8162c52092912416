use rhumb_tlb_model::PageSize;

use super::*;

#[test]
fn a_report_is_read_as_it_was_written() {
    let mut report = Report { geometries: vec!["one".into(), "two".into()], ..Report::default() };
    let mut sums = Sums::default();
    sums.of_mut(Place::DirectMap, Content::Data)
        .note(Outcome::Walk { page: PageSize::Size2M, references: 3 });
    sums.of_mut(Place::DirectMap, Content::Data).note(Outcome::SecondLevel);
    sums.of_mut(Place::Image, Content::Code).note(Outcome::FirstLevel);
    sums.of_mut(Place::User, Content::Data).note(Outcome::Absent);
    let region = Region {
        runs: 64,
        flushed_pages: 3,
        full_flushes: 1,
        here: vec![sums, Sums::default()],
        elsewhere: vec![Sums::default(), sums],
    };
    report.regions.extend(RegionId::new(256).map(|id| (id, region)));
    let text = report.to_string();
    assert!(text.contains("sum here 0 direct-map data 2 2 0 1 0 3 0\n"), "{text}");
    assert_eq!(text.parse(), Ok(report));
}

#[test]
fn other_texts_are_refused() {
    let refused = |text: &str| text.parse::<Report>().unwrap_err();
    assert_eq!(refused(""), NoReport::Head);
    assert_eq!(refused("rhumb-count 1\nend\n"), NoReport::Head);
    assert_eq!(refused("rhumb-trace 1\ngeometry a\n"), NoReport::CutShort);
    for line in [
        "region 1 2 3",
        "region 99999 1 1 1",
        "region 1 2 3 4 5",
        "sum here 0 image data 1 1 1 1 1 1 1",
        "region 1 1 0 0\nsum here 1 image data 1 1 1 1 1 1 1",
        "region 1 1 0 0\nsum here 0 moon data 1 1 1 1 1 1 1",
        "region 1 1 0 0\nsum here 0 image data 1 1 1 1 1 1",
        "something",
    ] {
        let text = format!("rhumb-trace 1\ngeometry a\n{line}\nend\n");
        assert!(matches!(refused(&text), NoReport::Line(_)), "{line}");
    }
}
