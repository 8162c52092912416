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
    assert_eq!(alike.verdict().0, "2 studies agree: no difference was seen in 2 common comparisons.");
    let apart = compare(&[on("a", &[1.0, 1.1]), on("c", &[1.0, 1.3])]).unwrap();
    let (headline, detail) = apart.verdict();
    assert_eq!(headline, "2 studies disagree in 1 of 2 common comparisons.");
    assert!(
        detail.starts_with("Widest apart is workload 1 (4-KiB pages against 1-GiB pages): from +"),
        "{detail}"
    );
    let text = text(&apart);
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
    assert_eq!(headline, "Nothing can be concluded from 2 studies: fewer than two have sound controls.");
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
    let compared = compare(&[kernel(), kernel()]).unwrap();
    assert_eq!(compared.verdict().0, "The 2 studies have no comparisons.");
    let misses = compared.figures.iter().find(|figure| figure.name == "directmap=4k").unwrap();
    assert_eq!(misses.values, [Some(5395.0), Some(5395.0)]);
    let compared = compare(&[who(), who()]).unwrap();
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
