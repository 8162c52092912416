use scraper::{Html, Selector};

use super::*;
use crate::samples::{HOSTILE, comparison, control, extreme, hosted, kernel, linux, machine, who};
use crate::schema::ControlKind;
use crate::terminal::Screen;

/// Returns a study of one machine, whose effects are `ratios`.
fn on(name: &str, ratios: &[f64]) -> Study {
    let mut study = linux();
    study.machine = machine(name);
    study.comparisons.clear();
    for (index, ratio) in ratios.iter().enumerate() {
        // Each machine has its own noise, and the same ids.
        let mut one = comparison(&format!("{name}/{index}"), *ratio, 0.01, 20);
        one.id = format!("common/{index}");
        one.workload = format!("workload {index}");
        study.comparisons.push(one);
    }
    study.adjust();
    study
}

fn compare(studies: &[Study]) -> Result<Compared, Error> {
    super::compare(studies, &[])
}

fn text(compared: &Compared) -> String {
    compared.summary(Screen::plain())
}

#[test]
fn studies_are_joined_by_id() {
    let mut studies = [on("a", &[1.0, 1.1, 1.2]), on("b", &[1.0, 1.1])];
    studies[1].comparisons[1].arm = "2-MiB pages".into();
    let compared = compare(&studies).unwrap();
    let known: Vec<Vec<bool>> =
        compared.rows.iter().map(|row| row.effects.iter().map(Option::is_some).collect()).collect();
    // The second workload has other arms on the second machine, which are no match.
    assert_eq!(known, [vec![true, true], vec![true, false], vec![true, false], vec![false, true]]);
    assert!(compared.rows[0].p_same.is_some() && compared.rows[1].p_same.is_none());
}

#[test]
fn agreement_and_disagreement_are_told() {
    let alike = compare(&[on("a", &[1.0, 1.1]), on("b", &[1.0, 1.1])]).unwrap();
    let (headline, detail) = alike.verdict();
    assert_eq!(headline, "No difference between 2 studies was seen in 2 common comparisons.");
    assert!(detail.starts_with("Smallest visible difference: ") && detail.contains(" (worst)."), "{detail}");
    let apart = compare(&[on("a", &[1.0, 1.1]), on("c", &[1.0, 1.3])]).unwrap();
    let (headline, detail) = apart.verdict();
    assert!(detail.contains(". Smallest visible difference in the others: "), "{detail}");
    assert_eq!(headline, "2 studies disagree in 1 of 2 common comparisons.");
    assert!(
        detail.starts_with("Widest apart is workload 1 (4-KiB pages against 1-GiB pages): from +"),
        "{detail}"
    );
    let text = text(&apart);
    assert!(text.contains("right of ┊: more than the baseline"), "{text}");
    assert!(text.contains("workload 1, 4-KiB pages against 1-GiB pages (they disagree)"), "{text}");
}

#[test]
fn kinds_and_numbers_that_do_not_match_are_refused() {
    let refused = |studies: &[Study]| compare(studies).unwrap_err().to_string();
    assert_eq!(
        refused(&[]),
        "a comparison needs two studies or more, and there is only 0: name another study.json"
    );
    assert!(refused(&[linux()]).contains("there is only 1"));
    assert_eq!(
        refused(&[linux(), hosted()]),
        "cannot compare a study of kind `linux` (small VM, #1) with one of kind `hosted` (small VM, #2): compare studies of one kind"
    );
}

#[test]
fn names_tell_machines_apart() {
    let mut studies = [on("a", &[]), on("a", &[]), on("b", &[]), on("", &[])];
    studies[1].machine.kernel = "Linux 5.10".into();
    let compared = compare(&studies).unwrap();
    let labels: Vec<&str> = compared.sides.iter().map(|side| &*side.label).collect();
    assert_eq!(labels, ["a, Linux 6.18.5", "a, Linux 5.10", "b", "Intel(R) Xeon(R) Processor @ 2.80GHz"]);
    let facts: Vec<&str> = compared.differences.iter().map(|difference| &*difference.fact).collect();
    assert_eq!(facts, ["kernel"]);
}

#[test]
fn a_study_with_a_failed_control_is_in_no_summary() {
    let mut studies = ["a", "b", "c", "d", "e"].map(|name| on(name, &[1.0])).to_vec();
    studies.push(on("wild", &[1.5]));
    studies[5].controls = vec![control(ControlKind::Negative, false)];
    let compared = compare(&studies).unwrap();
    assert!(!compared.rows[0].differs());
    assert_eq!(compared.rows[0].pooled.unwrap().machines, 5);
    assert!(compared.rows[0].quantiles.unwrap()[4] < 1.1);
    assert!(compared.verdict().1.contains("One study is left out of every summary"));
    let text = text(&compared);
    assert!(text.contains("wild proves nothing") && text.contains("wild (void)"), "{text}");
    studies.drain(..4);
    studies[0].controls = vec![control(ControlKind::Negative, false)];
    let (headline, _) = compare(&studies).unwrap().verdict();
    assert_eq!(headline, "Nothing can be concluded from 2 studies: fewer than two prove something.");
}

#[test]
fn a_fleet_has_quantiles_and_a_small_page() {
    let studies: Vec<Study> = (0..200)
        .map(|index| on(&format!("host {index}"), &[1.0 + f64::from(index % 7) * 0.01, 1.0]))
        .collect();
    let compared = compare(&studies).unwrap();
    assert_eq!(compared.verdict().0, "200 studies disagree in 1 of 2 common comparisons.");
    let pooled = compared.rows[0].pooled.unwrap();
    assert!(pooled.low < 1.03 && pooled.high > 1.03 && pooled.deviation > 0.015, "{pooled:?}");
    let page = page::page(&compared);
    if let Some(folder) = std::env::var_os("RHUMB_REPORT_PAGES") {
        std::fs::write(Path::new(&folder).join("compare-fleet.html"), &page).unwrap();
    }
    assert!(page.len() < 1_000_000, "{}", page.len());
    let page = Html::parse_document(&page);
    let dots = page.select(&Selector::parse("circle.machine").unwrap()).count();
    assert_eq!(dots, 400);
    assert!(text(&compared).contains("mean of 200 machines"));
}

#[test]
fn counts_and_maps_are_set_beside_each_other() {
    let again = |mut study: Study| {
        study.seed += 1;
        study
    };
    let compared = compare(&[kernel(), again(kernel())]).unwrap();
    assert_eq!(compared.verdict().0, "The 2 studies have no comparisons.");
    let misses = compared.figures.iter().find(|figure| figure.name == "directmap=4k").unwrap();
    assert_eq!(misses.values, [Some(5395.0), Some(5395.0)]);
    let compared = compare(&[who(), again(who())]).unwrap();
    let small = compared.figures.iter().find(|figure| figure.name == "4 KiB").unwrap();
    assert!((small.values[0].unwrap() - 2.48).abs() < 0.01);
}

#[test]
fn a_page_has_each_machine_and_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut hostile = extreme();
    hostile.machine.cpu = HOSTILE.into();
    for studies in
        [vec![on("a", &[1.0, 1.1]), on("b", &[1.0, 1.3])], vec![extreme(), hostile], vec![who(), who()]]
    {
        let compared = compare(&studies).unwrap();
        let text = std::fs::read_to_string(compared.write(folder.path()).unwrap()).unwrap();
        if let Some(folder) = std::env::var_os("RHUMB_REPORT_PAGES") {
            let name =
                format!("compare-{}.html", compared.kind.to_string() + &compared.rows.len().to_string());
            std::fs::write(Path::new(&folder).join(name), &text).unwrap();
        }
        let page = Html::parse_document(&text);
        let count = |selector| page.select(&Selector::parse(selector).unwrap()).count();
        assert_eq!(count("script, img, iframe"), 0);
        let effects: usize = compared.rows.iter().map(|row| row.effects.iter().flatten().count()).sum();
        assert_eq!(count(".forest svg.lane circle"), effects);
        assert!(!text.contains("NaN%"));
    }
}

#[test]
fn wide_intervals_are_no_agreement() {
    let mut studies = [on("a", &[1.22]), on("b", &[1.22])];
    let mut set = |study: usize, low: f64, high: f64| {
        let effect = studies[study].comparisons[0].effect.as_mut().unwrap();
        (effect.ratio, effect.low, effect.high, effect.adjusted) = ((low * high).sqrt(), low, high, None);
    };
    set(0, 0.985, 2.13);
    set(1, 1.18, 1.27);
    let (headline, detail) = compare(&studies).unwrap().verdict();
    assert_eq!(headline, "No difference between 2 studies was seen in 1 common comparison.");
    // The logarithms are known to 0.197 and 0.019: both are 0.198 apart, and 2.8 times that is seen.
    assert!(detail.starts_with("Smallest visible difference: 74 %."), "{detail}");
}

#[test]
fn a_study_is_no_witness_of_itself() {
    let study = on("a", &[1.1]);
    let files = ["before".to_owned(), "after".to_owned()];
    let compared = super::compare(&[study.clone(), study], &files).unwrap();
    assert_eq!(compared.sides[1].void.as_deref(), Some("It is the same study as before."));
    let (headline, _) = compared.verdict();
    assert_eq!(headline, "Nothing can be concluded from 2 studies: fewer than two prove something.");
}

#[test]
fn studies_without_controls_are_left_out_and_others_marked() {
    let mut studies = ["a", "b", "c", "d"].map(|name| on(name, &[1.0]));
    studies[1].controls.clear();
    studies[2].ending = Ending::Interrupted("Ctrl-C".into());
    studies[3].noise.as_mut().unwrap().hopeless = true;
    let compared = compare(&studies).unwrap();
    let void: Vec<bool> = compared.sides.iter().map(|side| side.void.is_some()).collect();
    assert_eq!(void, [false, true, false, false]);
    let text = text(&compared);
    for says in ["b proves nothing. It has no control", "c: ended early.", "d: too noisy for small effects."]
    {
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_fleet_of_doubtful_studies_has_few_remarks() {
    let mut studies: Vec<Study> = (0..50).map(|index| on(&format!("host {index}"), &[1.0])).collect();
    for study in &mut studies {
        study.noise.as_mut().unwrap().hopeless = true;
    }
    let text = text(&compare(&studies).unwrap());
    assert!(text.contains("42 more ended early or are too noisy") && text.lines().count() < 20, "{text}");
}

#[test]
fn machines_of_one_name_are_told_by_their_files() {
    let mut studies = [on("a", &[]), on("a", &[]), on("b", &[])];
    studies[1].seed = 2;
    let files = names_of(&["runs/before/study.json", "after.json", "runs/c/study.json"]);
    assert_eq!(files, ["before", "after", "c"]);
    let compared = super::compare(&studies, &files).unwrap();
    let labels: Vec<&str> = compared.sides.iter().map(|side| &*side.label).collect();
    assert_eq!(labels, ["before", "after", "b"]);
    assert_eq!(names_of(&["x/out/study.json", "y/out/study.json"]), ["x/out/study.json", "y/out/study.json"]);
}

#[test]
fn studies_without_a_common_comparison_say_why() {
    let mut studies = [on("a", &[1.0]), on("b", &[1.0])];
    studies[1].comparisons[0].baseline = "2-MiB pages".into();
    let (headline, detail) = compare(&studies).unwrap().verdict();
    assert_eq!(headline, "The 2 studies have no comparison in common.");
    assert!(
        detail.starts_with("Their baselines differ: 1-GiB pages in a, and 2-MiB pages in b."),
        "{detail}"
    );
}
