use std::collections::HashSet;
use std::fs;
use std::path::Path;

use scraper::{Html, Selector};

use super::*;
use crate::samples::{HOSTILE, control, empty, extreme, hosted, kernel, linux, who};
use crate::schema::ControlKind;

mod browser;

/// A folder for the sample pages, where a person wants to look at them.
const PAGES: &str = "RHUMB_REPORT_PAGES";

/// Returns all sample studies by name.
pub(super) fn samples() -> Vec<(&'static str, Study)> {
    let mut failed = hosted();
    failed.controls = vec![control(ControlKind::Positive, false), control(ControlKind::Negative, true)];
    vec![
        ("hosted", hosted()),
        ("linux", linux()),
        ("who", who()),
        ("kernel", kernel()),
        ("failed", failed),
        ("empty", empty(Kind::Hosted)),
        ("extreme", extreme()),
    ]
}

fn parsed(study: &Study) -> Html {
    Html::parse_document(&page(study).unwrap())
}

fn count(page: &Html, selector: &str) -> usize {
    page.select(&Selector::parse(selector).unwrap()).count()
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    let chosen = Selector::parse(selector).unwrap();
    let text = |element: scraper::ElementRef<'_>| element.text().collect::<String>().replace('\u{a0}', " ");
    page.select(&chosen).map(text).collect()
}

#[test]
fn every_sample_has_a_page() {
    for (name, study) in samples() {
        let text = page(&study).unwrap();
        if let Some(folder) = std::env::var_os(PAGES) {
            fs::write(Path::new(&folder).join(format!("{name}.html")), &text).unwrap();
        }
        // Pages that cannot be sent by mail are of no use.
        assert!(text.len() < 2_000_000, "{name}: {} bytes", text.len());
    }
}

#[test]
fn the_verdict_is_the_heading() {
    for (name, study) in samples() {
        let page = parsed(&study);
        let verdict = verdict(&study);
        assert_eq!(texts(&page, "h1").concat(), verdict.headline, "{name}");
        assert_eq!(texts(&page, "head title"), [verdict.headline], "{name}");
        assert_eq!(texts(&page, ".standfirst").concat(), verdict.detail, "{name}");
        assert_eq!(count(&page, ".warning"), verdict.warnings.len(), "{name}");
    }
}

#[test]
fn all_data_have_their_figures_and_no_plot_is_empty() {
    for (name, study) in samples() {
        let page = parsed(&study);
        assert_eq!(count(&page, ".forest .row:not(.scale)"), study.comparisons.len(), "{name}");
        let answers = study.comparisons.iter().filter(|one| one.effect.is_some()).count();
        assert_eq!(count(&page, ".forest svg.lane circle"), answers, "{name}");
        assert_eq!(
            count(&page, ".bars .row"),
            study.bars.iter().map(|bars| bars.bars.len()).sum::<usize>(),
            "{name}"
        );
        let has_points = |curve: &&crate::Curve| curve.series.iter().any(|line| !line.points.is_empty());
        assert_eq!(
            count(&page, "[id^=curve-] .plot.wide"),
            study.curves.iter().filter(has_points).count(),
            "{name}"
        );
        assert_eq!(count(&page, ".plot.wide"), count(&page, ".plot.narrow"), "{name}");
        assert_eq!(count(&page, "div.map"), study.maps.len(), "{name}");
        let filled = study.tables.iter().filter(|table| !table.rows.is_empty()).count();
        assert_eq!(count(&page, "[id^=table-]"), filled, "{name}");
        assert!(!page.html().contains("No rows."), "{name}");
        assert_eq!(count(&page, ".omissions li"), study.omissions.len(), "{name}");
        assert_eq!(count(&page, ".controls li"), study.controls.len(), "{name}");
        assert_eq!(count(&page, "#notes li"), study.notes.len(), "{name}");
        for plot in page.select(&Selector::parse("svg.plot").unwrap()) {
            let shapes = plot.select(&Selector::parse("circle").unwrap()).count();
            assert!(shapes > 0, "{name}: an empty plot: {}", plot.html());
        }
        for sheet in page.select(&Selector::parse("svg.sheet").unwrap()) {
            assert!(sheet.select(&Selector::parse("rect:not(.hole)").unwrap()).count() > 0, "{name}");
        }
        for figure in page.select(&Selector::parse("figure").unwrap()) {
            let has = |selector: &str| figure.select(&Selector::parse(selector).unwrap()).count() > 0;
            assert!(has("table"), "{name}: a figure without its table: {}", figure.html());
            assert!(has("h3"), "{name}");
        }
    }
}

#[test]
fn drawn_numbers_are_finite() {
    for (name, study) in samples() {
        let page = parsed(&study);
        for shape in page.select(&Selector::parse("svg, svg *").unwrap()) {
            for (attribute, value) in shape.value().attrs() {
                let is_number = matches!(
                    attribute,
                    "x" | "y"
                        | "cx"
                        | "cy"
                        | "x1"
                        | "x2"
                        | "y1"
                        | "y2"
                        | "width"
                        | "height"
                        | "points"
                        | "viewbox"
                );
                let is_odd = value.contains("NaN") || value.contains("inf");
                assert!(!(is_number && is_odd), "{name}: {attribute}={value}");
                let is_size = matches!(attribute, "width" | "height");
                assert!(!(is_size && value.starts_with('-')), "{name}: {attribute}={value}");
            }
        }
    }
}

#[test]
fn names_of_elements_are_unique() {
    for (name, study) in samples() {
        let page = parsed(&study);
        let mut seen = HashSet::new();
        for element in page.select(&Selector::parse("[id]").unwrap()) {
            let id = element.value().attr("id").unwrap().to_owned();
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}: {id}");
            assert!(seen.insert(id.clone()), "{name}: {id} twice");
        }
    }
}

#[test]
fn texts_of_the_data_cannot_be_programs() {
    for (name, study) in samples() {
        let page = parsed(&study);
        assert_eq!(count(&page, "script, img, iframe, object, embed, link, base, form"), 0, "{name}");
        for element in page.select(&Selector::parse("*").unwrap()) {
            let attributes = element.value().attrs().map(|(attribute, _)| attribute.to_lowercase());
            let odd: Vec<String> = attributes
                .filter(|attribute| attribute.starts_with("on") || attribute == "href" || attribute == "src")
                .collect();
            assert!(odd.is_empty(), "{name}: {odd:?}");
        }
        assert_eq!(count(&page, "style"), 1, "{name}");
    }
    let page = parsed(&extreme());
    let shown = texts(&page, "#notes li").concat();
    assert!(shown.contains(HOSTILE), "{shown}");
}

#[test]
fn a_page_asks_for_nothing_from_elsewhere() {
    for (name, study) in samples() {
        let text = page(&study).unwrap();
        for word in ["url(", "@import", "src=", "href=", "xlink"] {
            let style = text.split("</style>").next().unwrap();
            assert!(!style.contains(word), "{name}: {word}");
        }
        assert!(text.contains("default-src 'none'"));
    }
}

#[test]
fn a_failed_control_is_loud() {
    let (_, failed) = samples().remove(4);
    let page = parsed(&failed);
    assert_eq!(count(&page, "header.void h1"), 1);
    assert_eq!(count(&page, ".controls .failed"), 1);
    assert_eq!(count(&page, ".glance"), 0);
    assert_eq!(count(&page, ".forest .row.more, .forest .row.less"), 0);
}

#[test]
fn many_comparisons_are_folded() {
    let page = parsed(&extreme());
    let folded = count(&page, "details .forest .row");
    assert!(folded > 400, "{folded}");
    assert!(count(&page, ".panel") <= 12);
}
