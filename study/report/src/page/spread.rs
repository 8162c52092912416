//! The samples themselves: small pictures, one for each comparison, all points and a box from the first to the third
//! quartile.

use maud::{Markup, html};
use plotters::prelude::*;
use rhumb_method::{Finding, median, quantile};

use super::chart::{Area, Axis, FINE, Size, axes, draw, tick};
use super::palette::{ARM, BASELINE, INK, Role};
use super::tables::rows;
use crate::conditions::own;
use crate::error::Error;
use crate::format::{UNKNOWN, counted, number, quantity};
use crate::schema::{Comparison, Study};

/// The most comparisons that are drawn; the table has all.
const DRAWN: usize = 12;

/// The most comparisons that are shown unasked.
const SHOWN: usize = 6;

/// The most points of an arm; of more samples, each so-manieth is drawn.
const POINTS: usize = 120;

const SMALL: Size = Size { class: "small", width: 330, height: 104, ticks: 4 };

/// Returns the figure of the samples of all comparisons; nothing where there are none.
pub(super) fn figure(study: &Study) -> Result<Markup, Error> {
    let mut chosen: Vec<&Comparison> = study
        .comparisons
        .iter()
        .filter(|one| !finite(&one.baseline_samples).is_empty() && !finite(&one.arm_samples).is_empty())
        .collect();
    let total = chosen.len();
    let all: Vec<&Comparison> = study.comparisons.iter().collect();
    if total == 0 {
        return Ok(html! {});
    }
    let weight = |one: &Comparison| {
        one.effect.map_or(-1.0, |effect| {
            effect.ratio.ln().abs() + if effect.finding() == Finding::Unseen { 0.0 } else { 10.0 }
        })
    };
    chosen.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    chosen.truncate(DRAWN);
    Ok(html! {
        figure #spread {
            h3 { "The samples behind the effects" }
            p.versus {
                @if total > chosen.len() { "The " (chosen.len()) " largest effects of " (counted(total, "comparison")) ". " }
                "Each point is one round. The box holds the middle half, its line is the median."
            }
            div.panels { @for one in chosen.iter().take(SHOWN) { (panel(one, &all)?) } }
            @if chosen.len() > SHOWN {
                details {
                    summary { (chosen.len() - SHOWN) " more" }
                    div.panels { @for one in &chosen[SHOWN..] { (panel(one, &all)?) } }
                }
            }
            (table(study))
        }
    })
}

fn panel(one: &Comparison, all: &[&Comparison]) -> Result<Markup, Error> {
    let arms =
        [(&one.baseline, finite(&one.baseline_samples), BASELINE), (&one.arm, finite(&one.arm_samples), ARM)];
    let alt = format!("Samples of {}: {} and {}", one.workload, one.baseline, one.arm);
    Ok(html! {
        div.panel {
            h4 { (one.workload) @for condition in own(one, all) { small { (condition) } } }
            ul.legend {
                @for (name, samples, role) in &arms { li { i class=(format!("c-{}", role.name)) {} (name) " " b { (quantity(median(samples).unwrap_or(f64::NAN), &one.unit)) } } }
            }
            (draw(SMALL, &alt, |area| strips(area, &arms))?)
        }
    })
}

/// Draws the strips of the arms, one above the other.
fn strips(area: &Area<'_>, arms: &[(&String, Vec<f64>, Role)]) -> Result<(), String> {
    let all = || arms.iter().flat_map(|(_, samples, _)| samples.iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let room = (high - low) * 0.04;
    let x = Axis::over(low - room, high + room, SMALL.ticks);
    let y = Axis { low: 0.0, high: arms.len() as f64, ticks: vec![], write: tick };
    let mut plane = axes(area, x, y)?;
    for (index, (_, samples, role)) in arms.iter().enumerate() {
        let middle = (arms.len() - 1 - index) as f64 + 0.5;
        let step = samples.len().div_ceil(POINTS).max(1);
        // Neighbours in time are apart in height, so that points of the same value stay apart.
        let points = samples.iter().step_by(step).enumerate().map(|(round, value)| {
            let height = (round as f64 * 0.618_034).fract() - 0.5;
            Circle::new((*value, middle + height * 0.56), 2 * FINE, role.drawn().mix(0.5).filled())
        });
        plane.draw_series(points).map_err(|why| why.to_string())?;
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let quartile = |q| quantile(&sorted, q).unwrap_or(f64::NAN);
        let (first, center, third) = (quartile(0.25), quartile(0.5), quartile(0.75));
        let (bottom, top) = (middle - 0.34, middle + 0.34);
        let edge = [(first, bottom), (third, bottom), (third, top), (first, top), (first, bottom)];
        let stroke = role.drawn().stroke_width(FINE as u32 * 3 / 2);
        plane
            .draw_series([Rectangle::new([(first, bottom), (third, top)], role.drawn().mix(0.18).filled())])
            .map_err(|why| why.to_string())?;
        plane.draw_series([PathElement::new(edge, stroke)]).map_err(|why| why.to_string())?;
        let line = [(center, bottom), (center, top)];
        plane
            .draw_series([PathElement::new(line, INK.drawn().stroke_width(FINE as u32 * 2))])
            .map_err(|why| why.to_string())?;
    }
    Ok(())
}

fn finite(samples: &[f64]) -> Vec<f64> {
    samples.iter().copied().filter(|value| value.is_finite()).collect()
}

fn table(study: &Study) -> Markup {
    let body = study.comparisons.iter().flat_map(|one| {
        [(&one.baseline, &one.baseline_samples), (&one.arm, &one.arm_samples)].map(|(arm, samples)| {
            let mut sorted = finite(samples);
            sorted.sort_by(f64::total_cmp);
            let at = |q| quantile(&sorted, q).map_or(UNKNOWN.to_owned(), number);
            let count = number(sorted.len() as f64);
            vec![
                one.workload.clone(),
                one.id.clone(),
                arm.clone(),
                one.unit.clone(),
                count,
                at(0.0),
                at(0.25),
                at(0.5),
                at(0.75),
                at(1.0),
            ]
        })
    });
    let head =
        ["workload", "id", "arm", "unit", "samples", "least", "quarter", "median", "three quarters", "most"];
    rows(&head, 4, body.collect())
}
